-- Moves a bucket's time: on, to take it, or back to now, when there is more to do in it.
-- Guard: the time is still the one that was looked at.
UPDATE sweeps SET sweep_at_us = ? + ? WHERE bucket = ? AND sweep_at_us = ?
RETURNING sweep_at_us
