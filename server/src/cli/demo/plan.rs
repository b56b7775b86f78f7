//! What the demo sends: made from a seed, so that the same seed makes the same plan.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// What the shop sells.
const SHELF: [&str; 6] = ["mug", "shirt", "poster", "lamp", "sticker", "cap"];
/// An item that it is out of: its orders are refused for good, and that answer is replayed, too.
const SOLD_OUT: &str = "print";

/// An order that was paid, and about which the shop is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Order {
    /// The idempotency key of all its deliveries.
    pub key: String,
    pub id: String,
    pub sku: &'static str,
    pub quantity: u64,
}

impl Order {
    pub fn is_sold_out(&self) -> bool {
        self.sku == SOLD_OUT
    }

    /// The event's body, as its sender repeats it byte for byte.
    pub fn body(&self) -> String {
        self.body_of(self.quantity)
    }

    /// Another event under the same key: what a sender that reuses keys would send.
    pub fn other_body(&self) -> String {
        self.body_of(self.quantity + 1)
    }

    fn body_of(&self, quantity: u64) -> String {
        serde_json::json!({
            "type": "ORDER_PAID",
            "order_id": self.id,
            "sku": self.sku,
            "quantity": quantity,
        })
        .to_string()
    }
}

/// How a delivery is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Sent, and sent again until it is answered for good.
    Plain,
    /// So many at the same moment, over connections of their own.
    Race(u32),
    /// The sender hangs up right after sending, and sends it again.
    HangUpAfterSending,
    /// The sender hangs up when the answer is on its way, without reading it, and sends it again.
    HangUpBeforeReading,
    /// With the key of an order that was delivered, and another body.
    OtherBody,
    /// Without the header that names the key.
    NoKey,
}

/// What goes wrong with the handler that is granted a claim next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It dies with the claim in its hands.
    Crash,
    /// It takes its time, so that duplicates meet it at work.
    Slow,
}

/// One step of a sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    /// Index of the order.
    pub order: usize,
    pub manner: Manner,
    pub trouble: Option<Trouble>,
}

impl Step {
    /// How many deliveries it makes.
    pub fn deliveries(&self) -> u32 {
        match self.manner {
            Manner::Race(copies) => copies,
            _ => 1,
        }
    }
}

/// An item of the shelf, before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    pub sku: &'static str,
    pub at_start: u64,
    /// What all its orders together ask for.
    pub ordered: u64,
    /// What has to be left if every order is carried out once.
    pub expected: u64,
}

/// Everything that is sent, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub orders: Vec<Order>,
    pub steps: Vec<Step>,
    pub items: Vec<Item>,
}

impl Plan {
    /// `deliveries` of `orders` orders, which must not be more; keys begin with `run`.
    pub fn new(seed: u64, run: &str, orders: usize, deliveries: usize) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let orders = make_orders(&mut rng, run, orders);
        let items = stock_up(&mut rng, &orders);
        let steps = make_steps(&mut rng, orders.len(), deliveries);
        Self {
            orders,
            steps,
            items,
        }
    }

    /// How many steps have this property.
    pub fn count(&self, is_counted: impl Fn(&Step) -> bool) -> u64 {
        self.steps.iter().filter(|step| is_counted(step)).count() as u64
    }
}

fn make_orders(rng: &mut StdRng, run: &str, orders: usize) -> Vec<Order> {
    let orders = (1..=orders).map(|number| {
        // One in twenty, and so not the only one of a small plan.
        let sku = match number % 20 {
            0 => SOLD_OUT,
            _ => SHELF[rng.random_range(0..SHELF.len())],
        };
        Order {
            key: format!("evt-{run}-{number:05}"),
            id: format!("order-{number:05}"),
            sku,
            quantity: rng.random_range(1..=5),
        }
    });
    orders.collect()
}

/// Enough of everything, and a little more, so that one order too many would show.
fn stock_up(rng: &mut StdRng, orders: &[Order]) -> Vec<Item> {
    let items = SHELF.into_iter().chain([SOLD_OUT]).map(|sku| {
        let ordered = orders.iter().filter(|order| order.sku == sku);
        let ordered = ordered.map(|order| order.quantity).sum();
        let left = rng.random_range(50..100);
        let (at_start, expected) = match sku {
            SOLD_OUT => (0, 0),
            _ => (ordered + left, left),
        };
        Item {
            sku,
            at_start,
            ordered,
            expected,
        }
    });
    items.collect()
}

fn make_steps(rng: &mut StdRng, orders: usize, deliveries: usize) -> Vec<Step> {
    let mut left = deliveries - orders;
    // Every order is delivered at least once.
    let mut steps: Vec<Step> = (0..orders)
        .map(|order| honest(rng, order, &mut left))
        .collect();
    let mut refused = Vec::new();
    while left > 0 {
        let order = rng.random_range(0..orders);
        match rng.random_range(0..100) {
            0..2 => refused.push((order, Manner::OtherBody)),
            2..3 => refused.push((order, Manner::NoKey)),
            _ => {
                left -= 1;
                let step = honest(rng, order, &mut left);
                steps.push(step);
                continue;
            }
        }
        left -= 1;
    }
    steps.shuffle(rng);
    // A body that is not the order's must not come first, or it would be the order.
    for (order, manner) in refused {
        let first = steps
            .iter()
            .position(|step| step.order == order)
            .unwrap_or(steps.len());
        let at = rng.random_range((first + 1).min(steps.len())..=steps.len());
        steps.insert(
            at,
            Step {
                order,
                manner,
                trouble: None,
            },
        );
    }
    make_trouble(rng, &mut steps, orders);
    steps
}

/// A delivery of the true order, in one manner or another. It counts for one; what it counts for
/// beyond that is taken from `left`.
fn honest(rng: &mut StdRng, order: usize, left: &mut usize) -> Step {
    let manner = match rng.random_range(0..100) {
        0..12 if *left > 0 => {
            let more = rng.random_range(1..=3).min(*left);
            *left -= more;
            Manner::Race(1 + more as u32)
        }
        12..17 => Manner::HangUpAfterSending,
        17..22 => Manner::HangUpBeforeReading,
        _ => Manner::Plain,
    };
    Step {
        order,
        manner,
        trouble: None,
    }
}

/// Trouble comes with first deliveries, because these are sure to be granted a claim.
fn make_trouble(rng: &mut StdRng, steps: &mut [Step], orders: usize) {
    let mut seen = vec![false; orders];
    let mut firsts: Vec<&mut Step> = steps
        .iter_mut()
        .filter(|step| step.manner != Manner::NoKey)
        .filter(|step| !std::mem::replace(&mut seen[step.order], true))
        .collect();
    // Not among the last ones: a crash takes a lease to get over, and others may work meanwhile.
    let early = (firsts.len() * 7).div_ceil(10);
    let firsts = &mut firsts[..early];
    firsts.shuffle(rng);
    let crashes = (orders / 60).clamp(1, 20);
    let slow = (orders / 40).clamp(1, 40);
    let troubles = [vec![Trouble::Crash; crashes], vec![Trouble::Slow; slow]].concat();
    for (step, trouble) in firsts.iter_mut().zip(troubles) {
        step.trouble = Some(trouble);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes() -> impl Iterator<Item = (u64, usize, usize)> {
        let sizes = [(1, 1), (1, 50), (20, 20), (500, 2_000)];
        (0..20).flat_map(move |seed| sizes.map(|(orders, all)| (seed, orders, all)))
    }

    #[test]
    fn the_same_seed_makes_the_same_plan() {
        assert_eq!(Plan::new(7, "a", 50, 200), Plan::new(7, "a", 50, 200));
        assert_ne!(Plan::new(7, "a", 50, 200), Plan::new(8, "a", 50, 200));
    }

    #[test]
    fn a_plan_makes_as_many_deliveries_as_asked_and_leaves_no_order_out() {
        for (seed, orders, deliveries) in sizes() {
            let plan = Plan::new(seed, "a", orders, deliveries);
            let made: u32 = plan.steps.iter().map(Step::deliveries).sum();
            assert_eq!(made as usize, deliveries);
            let mut delivered = vec![false; orders];
            for step in &plan.steps {
                match step.manner {
                    Manner::NoKey => {}
                    Manner::OtherBody => assert!(delivered[step.order], "comes too early"),
                    _ => delivered[step.order] = true,
                }
            }
            assert!(delivered.into_iter().all(|is| is));
        }
    }

    #[test]
    fn trouble_is_made_with_first_deliveries_only() {
        for (seed, orders, deliveries) in sizes() {
            let plan = Plan::new(seed, "a", orders, deliveries);
            assert!(plan.count(|step| step.trouble == Some(Trouble::Crash)) >= 1);
            let mut seen = vec![false; orders];
            for step in plan
                .steps
                .iter()
                .filter(|step| step.manner != Manner::NoKey)
            {
                let is_first = !std::mem::replace(&mut seen[step.order], true);
                assert!(is_first || step.trouble.is_none());
            }
        }
    }
}
