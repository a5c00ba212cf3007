-- Stores a record and releases its lock, if the caller still holds the lock. A load that lost its
-- lock may have read an old value.
--
-- KEYS: the record, the lock.
-- ARGV: the token of the caller; the body; the lifetime, the time for background refreshes, the total
-- time and the remaining time in ms; the authentication code.
-- Returns: 1 if the record is stored.
if redis.pcall('HGET', KEYS[2], 'token') ~= ARGV[1] then
    return 0
end
-- The record may be a key of another type.
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], 'body', ARGV[2], 'lifetime', ARGV[3], 'revalidate', ARGV[4], 'total', ARGV[5], 'mac', ARGV[7])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return 1
