//! Metrics: each series exists from the start, and each request counts once.

use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

#[test]
fn every_series_exists_from_the_start_and_each_request_counts_once() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let exporter = recorder.handle();
    let cache = metrics::with_local_recorder(&recorder, cache);
    let text = exporter.render();
    for outcome in Outcome::ALL {
        let label = outcome.label();
        let series = format!("cache_requests_total{{cache=\"test\",outcome=\"{label}\"}} 0");
        assert!(text.contains(&series), "{series}");
    }
    for cause in ["size", "expired", "invalidated"] {
        let series = format!("cache_evictions_total{{cache=\"test\",cause=\"{cause}\"}} 0");
        assert!(text.contains(&series), "{series}");
    }

    let upstream = Upstream::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        upstream.get(&cache, Ok("a")).await.unwrap();
        sleep(30 * SECOND).await;
        upstream.get(&cache, Ok("a")).await.unwrap();
        cache.lookup("key", Instant::now()).unwrap().unwrap();
        assert!(cache.lookup("another", Instant::now()).is_none());
        let _ = cache.get("missing", Mode::Normal, upstream.load(Err(Error::NotFound))).await;
        let _ = cache.get("missing", Mode::Normal, upstream.load(Err(Error::NotFound))).await;
    });
    cache.sync();
    let text = exporter.render();
    for expected in [
        "cache_requests_total{cache=\"test\",outcome=\"miss\"} 2",
        "cache_requests_total{cache=\"test\",outcome=\"hit\"} 2",
        "cache_requests_total{cache=\"test\",outcome=\"negative\"} 1",
        "cache_entries{cache=\"test\"} 2",
        // Three responses have ages of 0, 30 and 30 seconds. An error has no age.
        "cache_served_age_seconds_count{cache=\"test\"} 3",
        "cache_served_age_seconds_sum{cache=\"test\"} 60",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    change(&cache, Effect::Drop);
    cache.sync();
    let text = exporter.render();
    assert!(text.contains("cache_evictions_total{cache=\"test\",cause=\"invalidated\"} 1"));
    assert!(text.contains("cache_entries{cache=\"test\"} 1"));
    let counts = text.lines().filter(|line| line.starts_with("cache_requests_total{"));
    let count = |line: &str| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(counts.map(count).sum::<u64>(), 5);
}

#[test]
fn an_entry_removed_for_space_counts_as_an_eviction() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let exporter = recorder.handle();
    let cache = metrics::with_local_recorder(&recorder, || cache_of(32 << 10));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 0..100 {
        let load = |_| async { Ok(loaded("a")) };
        runtime.block_on(cache.get(&number.to_string(), Mode::Normal, load)).unwrap();
    }
    let stored = cache.stats().entries;
    let evicted =
        format!("cache_evictions_total{{cache=\"test\",cause=\"size\"}} {}", 100 - stored);
    assert!(exporter.render().contains(&evicted), "{evicted}");
}
