//! `limits`: how fast a daemon may be.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Daemon, with};
use crate::cli::{Context, Failure, units};

/// Bytes of a kB, in which the RPC counts rates.
const KB: u64 = 1000;

/// Arguments of `limits`.
#[derive(Debug, Args)]
pub(in crate::cli) struct Limits {
    /// down=RATE · up=RATE · alt=on|off; a RATE is bytes a second, such as 500K, 1.5M (KiB and MiB) or 0 for no limit
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<String>,
    #[command(flatten)]
    daemon: Daemon,
}

impl Limits {
    pub(in crate::cli) fn run(&self, context: Context<'_>) -> Result<(), Failure> {
        let mut params = Map::new();
        for setting in &self.settings {
            parse(setting, &mut params).map_err(|fault| Failure::Usage(vec![fault]))?;
        }
        with(&self.daemon, context, |session| {
            if !params.is_empty() {
                session.call("session_set", &Value::Object(params))?;
            }
            let fields = json!({ "fields": [
                "speed_limit_down", "speed_limit_down_enabled", "speed_limit_up", "speed_limit_up_enabled",
                "alt_speed_enabled", "alt_speed_down", "alt_speed_up", "alt_speed_time_enabled", "alt_speed_time_day",
                "alt_speed_time_begin", "alt_speed_time_end",
            ]});
            let limits = session.call("session_get", &fields)?;
            if session.json {
                return session.print_json(&in_bytes(&limits));
            }
            let out = session.console.out();
            for line in table(&limits) {
                writeln!(out, "{line}")?;
            }
            Ok(())
        })
    }
}

/// Adds a setting as the RPC takes it.
fn parse(setting: &str, params: &mut Map<String, Value>) -> Result<(), String> {
    let (key, value) = setting
        .split_once('=')
        .ok_or_else(|| format!("{setting}: not a limit, which is KEY=VALUE"))?;
    let mut rate = |name: &str| -> Result<(), String> {
        let bytes = bytes_of(value).ok_or_else(|| {
            format!("{setting}: a rate was expected, such as 500K, 1.5M or 0 for no limit")
        })?;
        params.insert(format!("{name}_enabled"), json!(bytes > 0));
        if bytes > 0 {
            params.insert(name.to_owned(), json!((bytes / KB).max(1)));
        }
        Ok(())
    };
    match (key, value) {
        ("down", _) => rate("speed_limit_down")?,
        ("up", _) => rate("speed_limit_up")?,
        ("alt", "on" | "off") => {
            params.insert("alt_speed_enabled".to_owned(), json!(value == "on"));
        }
        ("alt", _) => return Err(format!("{setting}: alt is on or off")),
        _ => return Err(format!("{key}: unknown; it can be down, up or alt")),
    }
    Ok(())
}

/// `1.5M`, `500k`, `1234`: bytes. Units are binary, as rates are printed.
fn bytes_of(text: &str) -> Option<u64> {
    let text = text
        .trim_end_matches("/s")
        .trim_end_matches(['B', 'b'])
        .trim_end_matches('i');
    let unit = match text.chars().last()? {
        'k' | 'K' => 1_u64 << 10,
        'm' | 'M' => 1 << 20,
        'g' | 'G' => 1 << 30,
        _ => 1,
    };
    let number = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']).trim();
    let number: f64 = number
        .parse()
        .ok()
        .filter(|one| (0.0..=1e12).contains(one))?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the range was checked, and a person's rate is not exact"
    )]
    let bytes = (number * unit as f64).round() as u64;
    Some(bytes)
}

fn rate(limits: &Value, name: &str) -> u64 {
    limits[name].as_u64().unwrap_or_default() * KB
}

/// Bytes a second, as all that we print as JSON.
fn in_bytes(limits: &Value) -> Value {
    let on = |name: &str| limits[format!("{name}_enabled").as_str()] == json!(true);
    let of = |name: &str| {
        if on(name) {
            json!(rate(limits, name))
        } else {
            Value::Null
        }
    };
    json!({
        "download": of("speed_limit_down"),
        "upload": of("speed_limit_up"),
        "alt_download": rate(limits, "alt_speed_down"),
        "alt_upload": rate(limits, "alt_speed_up"),
        "alt": limits["alt_speed_enabled"],
    })
}

/// When the alternative limits come and go by themselves; nothing when they do not.
fn schedule(limits: &Value) -> Option<String> {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    if limits["alt_speed_time_enabled"] != json!(true) {
        return None;
    }
    let number = |name: &str| limits[name].as_u64().unwrap_or_default();
    let time = |minutes: u64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    let days = number("alt_speed_time_day");
    let named: Vec<&str> = (DAYS.iter().enumerate())
        .filter(|(day, _)| days >> day & 1 != 0)
        .map(|(_, name)| *name)
        .collect();
    let named = match named.len() {
        7 => "every day".to_owned(),
        0 => "on no day".to_owned(),
        _ => format!("on {}", named.join(", ")),
    };
    let (begin, end) = (number("alt_speed_time_begin"), number("alt_speed_time_end"));
    Some(format!(
        "      by itself from {} to {} {named}",
        time(begin),
        time(end)
    ))
}

fn table(limits: &Value) -> Vec<String> {
    let of = |name: &str| {
        if limits[format!("{name}_enabled").as_str()] == json!(true) {
            units::rate(rate(limits, name))
        } else {
            "no limit".to_owned()
        }
    };
    let alt = |name: &str| match rate(limits, name) {
        0 => "no limit".to_owned(),
        rate => units::rate(rate),
    };
    let on = limits["alt_speed_enabled"] == json!(true);
    let mut lines = vec![
        format!("down  {}", of("speed_limit_down")),
        format!("up    {}", of("speed_limit_up")),
        format!(
            "alt   {}: {} down, {} up",
            if on { "on" } else { "off" },
            alt("alt_speed_down"),
            alt("alt_speed_up")
        ),
    ];
    lines.extend(schedule(limits));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_said_where_there_is_one() {
        let of = |days: u64| {
            schedule(&json!({
                "alt_speed_time_enabled": true, "alt_speed_time_day": days,
                "alt_speed_time_begin": 1350, "alt_speed_time_end": 420,
            }))
        };
        let line = |days: &str| Some(format!("      by itself from 22:30 to 07:00 {days}"));
        assert_eq!(of(127), line("every day"));
        assert_eq!(of(0b010_0010), line("on Mon, Fri"));
        assert_eq!(of(0), line("on no day"));
        assert_eq!(schedule(&json!({"alt_speed_time_enabled": false})), None);
    }

    #[test]
    fn limits_are_said_as_the_rpc_takes_them() {
        #[rustfmt::skip]
        let table = [
            ("down=1M",      Ok(json!({"speed_limit_down": 1048, "speed_limit_down_enabled": true}))),
            ("up=1.5MiB/s",  Ok(json!({"speed_limit_up": 1572, "speed_limit_up_enabled": true}))),
            ("up=50000",     Ok(json!({"speed_limit_up": 50, "speed_limit_up_enabled": true}))),
            ("up=1",         Ok(json!({"speed_limit_up": 1, "speed_limit_up_enabled": true}))),
            ("up=0",         Ok(json!({"speed_limit_up_enabled": false}))),
            ("alt=on",       Ok(json!({"alt_speed_enabled": true}))),
            ("alt=maybe",    Err("alt=maybe: alt is on or off")),
            ("down=fast",    Err("down=fast: a rate was expected, such as 500K, 1.5M or 0 for no limit")),
            ("down=-1",      Err("down=-1: a rate was expected, such as 500K, 1.5M or 0 for no limit")),
            ("left=1",       Err("left: unknown; it can be down, up or alt")),
            ("down",         Err("down: not a limit, which is KEY=VALUE")),
        ];
        for (text, want) in table {
            let mut params = Map::new();
            let got = parse(text, &mut params).map(|()| Value::Object(params));
            assert_eq!(got, want.map_err(str::to_owned), "{text}");
        }
    }
}
