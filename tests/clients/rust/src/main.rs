//! HTTP/1.1 over rustls, in the two roles:
//!
//! ```text
//! rust-tls server CERTIFICATE KEY ADDRESS
//! rust-tls client AUTHORITY ADDRESS PATH BODY...
//! rust-tls -idle
//! ```
//!
//! The server says the address that it listens on, hands requests on to a plain server, and runs until it is
//! killed. The client sends its requests one after the other on one connection, whose answers have to have a
//! length. Where `KEY_UPDATES` is set, each changes its keys, and has the other change its own, whenever it
//! has sent a message.

use std::{
    env,
    error::Error,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    ops::DerefMut,
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, RootCertStore, ServerConfig, ServerConnection, SideData,
    Stream,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["server", certificate, key, address] => server(certificate, key, address),
        ["client", authority, address, path, ref bodies @ ..] => client(authority, address, path, bodies),
        ["-idle"] => Ok(thread::sleep(Duration::from_secs(3600))),
        _ => Err("see the source".into()),
    }
}

fn server(certificate: &str, key: &str, address: &str) -> Result<()> {
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(
        CertificateDer::pem_file_iter(certificate)?.collect::<std::result::Result<_, _>>()?,
        PrivateKeyDer::from_pem_file(key)?,
    )?;
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (mut socket, mut plain) = (socket?, TcpStream::connect(address)?);
        let mut connection = ServerConnection::new(Arc::clone(&config))?;
        thread::spawn(move || -> Result<()> {
            loop {
                let request = message(&mut Stream::new(&mut connection, &mut socket))?;
                plain.write_all(&request)?;
                send(&mut connection, &mut socket, &message(&mut plain)?)?;
            }
        });
    }
    Ok(())
}

fn client(authority: &str, address: &str, path: &str, bodies: &[&str]) -> Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), "localhost".try_into()?)?;
    let mut socket = TcpStream::connect(address)?;
    for body in bodies {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        send(&mut connection, &mut socket, request.as_bytes())?;
        io::stdout().write_all(&message(&mut Stream::new(&mut connection, &mut socket))?)?;
    }
    Ok(())
}

/// Sends a message, and changes the keys where that is wanted.
fn send<C, S>(connection: &mut C, socket: &mut TcpStream, message: &[u8]) -> Result<()>
where
    C: DerefMut<Target = ConnectionCommon<S>>,
    S: SideData,
{
    let mut stream = Stream::new(connection, socket);
    stream.write_all(message)?;
    stream.flush()?;
    if env::var_os("KEY_UPDATES").is_some() {
        connection.refresh_traffic_keys()?;
        connection.write_tls(socket)?;
    }
    Ok(())
}

/// A head, and as many bytes as it says that there are behind it.
fn message(stream: &mut impl Read) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(head) = message.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let text = std::str::from_utf8(&message[..head])?.to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.ok_or("a message without a length")?.trim().parse()?;
            if message.len() >= head + 4 + length {
                return Ok(message);
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err("the connection ended".into()),
            read => message.extend_from_slice(&buffer[..read]),
        }
    }
}
