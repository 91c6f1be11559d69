//! A reverse proxy of Debian's before the server, configured in a folder of its own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::process::end_of;
use crate::support::server::eventually;

/// The running proxy; it is killed when this is dropped.
pub struct Proxy {
    child: Child,
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Proxy {
    /// nginx with this in its `server` block.
    pub fn nginx(server: &str) -> Proxy {
        Proxy::start("nginx", |address| {
            format!(
                "daemon off; master_process off; pid pid; error_log stderr warn;\n\
                 events {{}}\n\
                 http {{\n  access_log off;\n  client_body_temp_path body; proxy_temp_path proxy;\n  \
                 fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n  \
                 server {{\n    listen {address};\n{server}\n  }}\n}}\n"
            )
        })
    }

    pub fn haproxy(upstream: SocketAddr) -> Proxy {
        Proxy::start("haproxy", |address| {
            format!(
                "defaults\n  mode http\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n\
                 frontend all\n  bind {address}\n  default_backend duragent\n\
                 backend duragent\n  server one {upstream}\n"
            )
        })
    }

    pub fn caddy(upstream: SocketAddr) -> Proxy {
        Proxy::start("caddy", |address| {
            format!(
                "{{\n  admin off\n  auto_https off\n}}\n\
                 http://{address} {{\n  reverse_proxy {upstream}\n}}\n"
            )
        })
    }

    /// Starts it where `config` says, and waits until it listens.
    fn start(program: &str, config: impl Fn(SocketAddr) -> String) -> Proxy {
        // None of them says which port it got when it is told to take any.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("config");
        fs::write(&file, config(address)).unwrap();
        let child = Command::new(program)
            .args(arguments(program, folder.path()))
            .current_dir(folder.path())
            .env_clear()
            // Debian keeps servers where only root looks for programs.
            .env("PATH", "/usr/sbin:/usr/bin:/bin")
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // They complain that the server is away.
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|err| panic!("{program}: {err}"));
        let proxy = Proxy {
            child,
            address,
            _folder: folder,
        };
        eventually(program, || TcpStream::connect(address).ok());
        proxy
    }
}

fn arguments<'a>(program: &str, folder: &'a Path) -> Vec<&'a str> {
    let folder = folder.to_str().unwrap();
    match program {
        "nginx" => vec!["-p", folder, "-c", "config", "-e", "stderr"],
        "haproxy" => vec!["-db", "-f", "config"],
        _ => vec!["run", "--adapter", "caddyfile", "--config", "config"],
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        end_of(&mut self.child);
    }
}
