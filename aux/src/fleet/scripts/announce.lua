-- Adds an entry to the stream of changes.
--
-- KEYS: the stream.
-- ARGV: the number of entries that the stream holds, about; its lifetime without a change in ms; the
-- replica; the changes; the authentication code.
-- Returns: the id of the entry.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'stream' and kind ~= 'none' then
    redis.call('DEL', KEYS[1])
end
local id = redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*',
    'replica', ARGV[3], 'changes', ARGV[4], 'mac', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return id
