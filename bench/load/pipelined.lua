-- Sixteen requests a write, answered one after the other.
dofile("done.lua")

local batch

function init(_)
    batch = wrk.format():rep(16)
end

function request()
    return batch
end
