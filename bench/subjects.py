"""The compared programs."""

from __future__ import annotations

from peers import (
    agent,
    bare_hyper,
    direct_boto3,
    direct_boto3_legacy,
    direct_javascript,
    moto,
    nginx_cache,
    nginx_cache_tuned,
    nginx_pass,
    nginx_return,
    nginx_uncoalesced,
    varnish,
)
from services import (
    aux_service,
    fleet_alone,
    fleet_shared,
    main_api,
    main_api_pass,
    replica,
    replica_shared,
    replica_shared_as_agent,
    replica_uncached,
    waiting_aux,
    waiting_main,
)
from stage import Subject

SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject("aux-service", "aux-service", aux_service, ours=True),
        Subject("main-api", "main-api", main_api, ours=True),
        Subject("main-api-pass", "main-api, CACHE=off", main_api_pass, asks_source=True, ours=True),
        Subject("fleet-alone", "replicas on their own", fleet_alone, ours=True),
        Subject("fleet-shared", "replicas with a shared cache", fleet_shared, ours=True),
        Subject("waiting-aux", "aux-service, requests wait", waiting_aux, ours=True),
        Subject("waiting-main", "main-api, requests wait", waiting_main, ours=True),
        Subject("replica", "aux-service, alone", replica, ours=True),
        Subject("replica-shared", "aux-service, shared cache", replica_shared, ours=True),
        Subject("replica-shared-300", "aux-service, shared cache, 300 s", replica_shared_as_agent, ours=True),
        Subject("replica-uncached", "aux-service, CACHE=off", replica_uncached, asks_source=True, ours=True),
        Subject("direct-boto3", "boto3, direct", direct_boto3),
        Subject("direct-boto3-legacy", "boto3, direct, legacy retries", direct_boto3_legacy),
        Subject("direct-javascript", "AWS SDK for JavaScript, direct", direct_javascript),
        Subject("agent", "agent per pod", agent),
        Subject("nginx-uncoalesced", "nginx cache without a lock", nginx_uncoalesced),
        Subject("poll-10", "pods poll each 10 s"),
        Subject("poll-60", "pods poll each 60 s"),
        Subject("poll-300", "pods poll each 300 s"),
        Subject("moto", "moto (emulator)", moto),
        Subject("nginx-cache", "nginx cache", nginx_cache),
        Subject("nginx-cache-tuned", "nginx cache, tuned", nginx_cache_tuned),
        Subject("varnish", "Varnish", varnish),
        Subject("nginx-pass", "nginx proxy_pass", nginx_pass, asks_source=True),
        Subject("nginx-return", "nginx return 200 (limit)", nginx_return, limit=True),
        Subject("hyper", "bare hyper (limit)", bare_hyper, limit=True),
    )
}
