-- Sends the first argument as the body of each request.
dofile("done.lua")

function init(arguments)
    wrk.method = "POST"
    wrk.body = arguments[1]
end
