"""Answers, line by line, what the packages `standardwebhooks` and `stripe` think of deliveries.

One JSON object a line: {"scheme", "secret", "headers", "body" (base64)}. Answers true or false, or, for
one with "sign": [id, timestamp], the signature.
"""

import base64
import datetime
import json
import sys

import standardwebhooks
import stripe


def genuine(scheme, secret, headers, body):
    try:
        if scheme == "standard":
            standardwebhooks.Webhook(secret).verify(body, headers)
        else:
            text = body.decode("utf-8")
            header = headers.get("stripe-signature", "")
            stripe.WebhookSignature.verify_header(text, header, secret, tolerance=300)
        return True
    except json.JSONDecodeError:
        # Only what is genuine is read, and not every body is JSON.
        return True
    except Exception as error:  # whatever it objects to, it does not believe it
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return False


def sign(scheme, secret, name, timestamp, body):
    if scheme == "standard":
        at = datetime.datetime.fromtimestamp(timestamp, tz=datetime.timezone.utc)
        return standardwebhooks.Webhook(secret).sign(name, at, body.decode("utf-8"))
    signed = f"{timestamp}.{body.decode('utf-8')}"
    signature = stripe.WebhookSignature._compute_signature(signed, secret)
    return f"t={timestamp},v1={signature}"


for line in sys.stdin:
    question = json.loads(line)
    scheme, secret = question["scheme"], question["secret"]
    body = base64.b64decode(question["body"])
    if "sign" in question:
        answer = sign(scheme, secret, *question["sign"], body)
    else:
        answer = genuine(scheme, secret, question["headers"], body)
    print(json.dumps(answer), flush=True)
