//! Where the daemon is: what the command line says, else what the configuration says of its own.

use super::Daemon;
use crate::cli::{Context, Failure};
use crate::config::Config;
use crate::gateway::remote::Remote;

/// The way to the daemon; nothing is sent yet.
pub(in crate::cli) fn remote(daemon: &Daemon, context: &Context<'_>) -> Result<Remote, Failure> {
    let loaded = context.load_config()?;
    let config = &loaded.config;
    let url = match &daemon.rpc {
        Some(url) => url.clone(),
        None => url_of(config).map_err(Failure::failed)?,
    };
    let user = daemon.user.as_ref().unwrap_or(&config.rpc.user);
    let password = match &daemon.password {
        Some(password) => password.clone(),
        None => password_of(config)?,
    };
    Remote::new(&url, user, &password)
        .map_err(|fault| Failure::Usage(vec![format!("--rpc {fault}")]))
}

/// What the daemon of this configuration listens on, as somebody on this host reaches it.
fn url_of(config: &Config) -> Result<String, String> {
    let bind = &config.rpc.bind;
    if bind.starts_with("unix:") {
        return Ok(bind.clone());
    }
    let Ok(mut address) = bind.parse::<std::net::SocketAddr>() else {
        return Err("rpc.bind is empty: name the daemon with --rpc URL".to_owned());
    };
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(format!("http://{address}/transmission/rpc"))
}

/// A hash is of no use for asking: then it has to be given.
fn password_of(config: &Config) -> Result<String, Failure> {
    let file = &config.rpc.password_file;
    if file.as_os_str().is_empty() {
        let plain = !config.rpc.password.starts_with("$argon2");
        return Ok(if plain {
            config.rpc.password.clone()
        } else {
            String::new()
        });
    }
    let text = std::fs::read_to_string(file)
        .map_err(|fault| Failure::failed(format!("{}: {}", file.display(), fault.kind())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemon_is_where_it_binds() {
        #[rustfmt::skip]
        let table = [
            ("127.0.0.1:9091", Some("http://127.0.0.1:9091/transmission/rpc")),
            ("0.0.0.0:80",     Some("http://127.0.0.1:80/transmission/rpc")),
            ("[::]:80",        Some("http://[::1]:80/transmission/rpc")),
            ("unix:/run/l",    Some("unix:/run/l")),
            ("",               None),
        ];
        for (bind, want) in table {
            let mut config = Config::default();
            bind.clone_into(&mut config.rpc.bind);
            assert_eq!(url_of(&config).ok().as_deref(), want, "{bind}");
        }
    }
}
