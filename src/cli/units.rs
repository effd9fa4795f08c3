//! Numbers for people: binary sizes, rates in MiB/s, times, dates.

use std::time::Duration;

/// `1536` is "1.5 KiB".
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // In sixteenths, so that the arithmetic stays in integers up to u64::MAX.
    let mut unit = 0;
    let mut rest = bytes;
    while rest >= 1024 * 1024 {
        rest /= 1024;
        unit += 1;
    }
    let tenths = (rest * 10 + 512) / 1024;
    if tenths >= 10 * 1024 && unit + 1 < UNITS.len() {
        return format!("1.0 {}", UNITS[unit + 1]);
    }
    if tenths < 1000 {
        format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
    } else {
        format!("{} {}", (tenths + 5) / 10, UNITS[unit])
    }
}

/// `1572864` is "1.5 MiB/s": always in MiB/s, so that rates compare at a glance. A slow one has more digits, since it is not
/// nothing.
pub(super) fn rate(bytes_per_second: u64) -> String {
    let parts = |of: u128| (u128::from(bytes_per_second) * of + (1 << 19)) >> 20;
    let tenths = parts(10);
    if tenths == 0 && bytes_per_second > 0 {
        match parts(100) {
            0 => format!("0.{:03} MiB/s", parts(1000).max(1)),
            hundredths => format!("0.{hundredths:02} MiB/s"),
        }
    } else if tenths < 1000 {
        format!("{}.{} MiB/s", tenths / 10, tenths % 10)
    } else {
        format!("{} MiB/s", (tenths + 5) / 10)
    }
}

/// Bytes over a time, per second.
pub(super) fn per_second(bytes: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000 / micros).unwrap_or(u64::MAX)
}

/// "0.3 s", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h".
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{}.{} s", seconds, time.subsec_millis() / 100),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// `count` with its noun: "1 file", "2 files".
pub(super) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Seconds since 1970 as "2026-01-31 23:59:59 UTC" (the civil calendar, proleptic); the number itself beyond the year 9999.
pub(super) fn date(unix_seconds: i64) -> String {
    let (days, second) = (
        unix_seconds.div_euclid(86_400),
        unix_seconds.rem_euclid(86_400),
    );
    if !(-719_162..2_932_897).contains(&days) {
        return unix_seconds.to_string();
    }
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    // Days since 0001-01-01, cut into cycles of 400 years; the rest is walked.
    let since = days + 719_162;
    let mut year = 1 + since.div_euclid(146_097) * 400;
    let mut day = since.rem_euclid(146_097);
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{:02} {hour:02}:{minute:02}:{:02} UTC",
        day + 1,
        second % 60
    )
}

/// "262144", "256K", "256KiB", "1M", "1 MiB" as bytes; binary units.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_rates_and_times_read_well() {
        #[rustfmt::skip]
        let sizes = [
            (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (102_400, "100 KiB"),
            (1_048_575, "1.0 MiB"), (1 << 20, "1.0 MiB"), (2 << 30, "2.0 GiB"), (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, want) in sizes {
            assert_eq!(size(bytes), want, "{bytes}");
        }
        assert_eq!(rate(0), "0.0 MiB/s");
        assert_eq!(rate(1_572_864), "1.5 MiB/s");
        assert_eq!(rate(50_000), "0.05 MiB/s");
        assert_eq!(rate(5_000), "0.005 MiB/s");
        assert_eq!(rate(1), "0.001 MiB/s");
        assert_eq!(rate(713_031_680), "680 MiB/s");
        assert_eq!(per_second(100, Duration::from_millis(500)), 200);
        #[rustfmt::skip]
        let times = [
            (340, "0.3 s"), (12_900, "12 s"), (200_000, "3 min 20 s"), (7_500_000, "2 h 5 min"), (273_600_000, "3 d 4 h"),
        ];
        for (millis, want) in times {
            assert_eq!(time(Duration::from_millis(millis)), want);
        }
    }

    #[test]
    fn dates_follow_the_calendar() {
        #[rustfmt::skip]
        let table = [
            (0,               "1970-01-01 00:00:00 UTC"),
            (951_782_399,     "2000-02-28 23:59:59 UTC"),
            (951_782_400,     "2000-02-29 00:00:00 UTC"),
            (1_709_251_199,   "2024-02-29 23:59:59 UTC"),
            (4_107_542_400,   "2100-03-01 00:00:00 UTC"),
            (1_735_689_599,   "2024-12-31 23:59:59 UTC"),
            (-1,              "1969-12-31 23:59:59 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
            (253_402_300_800, "253402300800"),
            (i64::MIN,        "-9223372036854775808"),
        ];
        for (seconds, want) in table {
            assert_eq!(date(seconds), want);
        }
    }

    #[test]
    fn sizes_are_read_in_binary_units() {
        #[rustfmt::skip]
        let table = [
            ("16384", Some(16_384)), ("256K", Some(262_144)), ("256 KiB", Some(262_144)), ("1m", Some(1 << 20)), ("2GiB", Some(2 << 30)),
            ("", None), ("K", None), ("1X", None), ("-1", None), ("99999999999999999999", None), ("18446744073709551615K", None),
        ];
        for (text, want) in table {
            assert_eq!(parse_size(text), want, "{text}");
        }
    }
}
