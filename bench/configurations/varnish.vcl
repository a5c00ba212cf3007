# Varnish in front of a service whose answers are the same for every caller that it lets in.
vcl 4.1;

backend source {
    .host = "@SOURCE_HOST@";
    .port = "@SOURCE_PORT@";
}

sub vcl_recv {
    # Requests that carry Authorization are not looked up by default.
    if (req.method == "GET") {
        return (hash);
    }
}

sub vcl_backend_response {
    # What is stale stands in when the source is gone.
    set beresp.grace = 1h;
}
