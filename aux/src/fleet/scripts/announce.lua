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
local function add(call)
    return call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*',
        'replica', ARGV[3], 'changes', ARGV[4], 'mac', ARGV[5])
end
local id = add(redis.pcall)
if type(id) == 'table' and id.err then
    -- The last id is the largest one that there can be.
    redis.call('DEL', KEYS[1])
    id = add(redis.call)
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return id
