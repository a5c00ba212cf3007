-- Releases a lock without a record to store, if the caller still holds the lock.
--
-- KEYS: the record, the lock.
-- ARGV: the token of the caller; "drop" if the record must not be used any more, else "keep".
-- Returns: 1 if the caller held the lock.
if redis.call('TYPE', KEYS[2]).ok ~= 'hash' or redis.call('HGET', KEYS[2], 'token') ~= ARGV[1] then
    return 0
end
redis.call('DEL', KEYS[2])
if ARGV[2] == 'drop' then
    redis.call('DEL', KEYS[1])
end
return 1
