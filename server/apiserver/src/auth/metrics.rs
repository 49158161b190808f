//! Upstream's metric of client certificates: when those that come expire.

use std::sync::LazyLock;

use prometheus_client::metrics::histogram::Histogram;

const HOUR: f64 = 3600.0;
const DAY: f64 = 24.0 * HOUR;

static EXPIRATION: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = [
        0.0,
        HOUR / 2.0,
        HOUR,
        2.0 * HOUR,
        6.0 * HOUR,
        12.0 * HOUR,
        DAY,
        2.0 * DAY,
        4.0 * DAY,
        7.0 * DAY,
        30.0 * DAY,
        90.0 * DAY,
        180.0 * DAY,
        360.0 * DAY,
    ];
    let histogram = Histogram::new(buckets);
    sampan_process::metrics::registry().lock().register(
        "apiserver_client_certificate_expiration_seconds",
        "Distribution of the remaining lifetime on the certificate used to authenticate a request",
        histogram.clone(),
    );
    histogram
});

/// Notes a certificate that is good until `end`, in seconds since 1970.
pub(super) fn shown(end: i64) {
    let left = end.saturating_sub(jiff::Timestamp::now().as_second());
    #[allow(clippy::cast_precision_loss, reason = "seconds of some years are exact")]
    EXPIRATION.observe(left as f64);
}
