-- Reads a record, and takes the lock of its load if the record is missing or stale and nobody holds
-- the lock.
--
-- KEYS: the record, the lock.
-- ARGV: the token of the caller; the lifetime of a lock in ms; the demand: "read" reads the record,
-- "lock" ignores it, and "seize" ignores it and takes the lock from its holder; the fraction of its
-- lifetime up to which the record counts as fresh.
-- Returns: the state ("fresh", "locked" by another or "taken" by the caller); the body, or false; the
-- record's lifetime, its time for background refreshes, its total time and its remaining time in ms;
-- its authentication code; the pages and the names that the holder of the lock has loaded.
local token, lock_ms, demand, fraction = ARGV[1], tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local body, lifetime, revalidate, total, remaining, mac = false, 0, 0, 0, 0, ''
local fresh = false
if demand == 'read' then
    -- A key of another type is no record.
    local record = redis.pcall('HMGET', KEYS[1], 'body', 'lifetime', 'revalidate', 'total', 'mac')
    remaining = redis.call('PTTL', KEYS[1])
    if not record.err and record[1] then
        lifetime, revalidate, total = tonumber(record[2]), tonumber(record[3]), tonumber(record[4])
        -- A record without an expiry, or with more time than it had at first, has no known age. The
        -- comparisons are false for a number that is none.
        if lifetime and revalidate and total and remaining > 0 and remaining <= total
            and total <= 1e13 and lifetime >= 0 and lifetime <= total
            and revalidate >= 0 and revalidate <= total then
            body, mac = record[1], record[5] or ''
            fresh = total - remaining < lifetime * fraction
        end
    end
end
if not body then
    lifetime, revalidate, total = 0, 0, 0
end
local function result(state, pages, names)
    return { state, body, lifetime, revalidate, total, remaining, mac, pages, names }
end
if fresh then
    return result('fresh', 0, 0)
end
local lock = redis.pcall('HMGET', KEYS[2], 'token', 'pages', 'names')
local left = redis.call('PTTL', KEYS[2])
-- A lock that never expires, or that is no lock, would stop all loads.
local held = not lock.err and lock[1] and left > 0 and left <= lock_ms
if held and demand ~= 'seize' then
    return result('locked', tonumber(lock[2]) or 0, tonumber(lock[3]) or 0)
end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'token', token)
redis.call('PEXPIRE', KEYS[2], lock_ms)
return result('taken', 0, 0)
