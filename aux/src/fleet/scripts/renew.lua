-- Prolongs a lock and shows the progress of its load, if the caller still holds the lock.
--
-- KEYS: the lock.
-- ARGV: the token of the caller; the lifetime of a lock in ms; the pages and the names that have been
-- loaded.
-- Returns: 1 if the caller holds the lock.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' or redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
    return 0
end
redis.call('HSET', KEYS[1], 'pages', ARGV[3], 'names', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
