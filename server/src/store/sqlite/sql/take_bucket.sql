-- Moves a turn's time: on, to take it, or back to now, when there is more to do in it.
-- Guard: the time is still the one that was looked at.
UPDATE sweeps SET sweep_at_us = ?1 + ?2 WHERE bucket = ?3 AND sweep_at_us = ?4
