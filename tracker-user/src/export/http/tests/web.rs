//! With a web configuration.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::export::http::auth::tests::basic;

/// An authority and what it signs, in a folder.
struct Signed {
    folder: tempfile::TempDir,
    authority: CertificateDer<'static>,
    client: (CertificateDer<'static>, PrivateKeyDer<'static>),
}

impl Signed {
    fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = authority.self_signed(&key).unwrap();
        let issuer = Issuer::new(authority, key);
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
        let leaf = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let leaf =
                CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
            (leaf, key)
        };
        let ((server, server_key), (client, client_key)) = (leaf("localhost"), leaf("client"));
        write("ca.pem", certificate.pem());
        write("server.pem", server.pem());
        write("server.key", server_key.serialize_pem());
        let client_key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(client_key.serialize_der()));
        Self { authority: certificate.der().clone(), client: (client.der().clone(), client_key), folder }
    }

    fn web(&self, text: &str) -> Result<WebConfig, WebConfigError> {
        WebConfig::load(Some(&self.write(text)))
    }

    fn write(&self, text: &str) -> std::path::PathBuf {
        let path = self.folder.path().join("web.yml");
        fs::write(&path, text).unwrap();
        path
    }

    /// A request over TLS; an error where there is no answer.
    async fn get(&self, address: SocketAddr, certificate: bool, head: &str) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let (client, key) = &self.client;
        let config = if certificate {
            builder.with_client_auth_cert(vec![client.clone()], key.clone_key()).unwrap()
        } else {
            builder.with_no_client_auth()
        };
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let request = format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

const TLS: &str = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n";

fn user(password: &str) -> String {
    format!("basic_auth_users:\n  ada: {}\n", bcrypt::hash(password, 4).unwrap())
}

fn authorization(password: &str) -> String {
    format!("Authorization: {}\r\n", basic("ada", password))
}

#[tokio::test]
async fn tls_and_a_password() {
    let signed = Signed::new();
    let text = format!("{TLS}{}http_server_config:\n  headers:\n    X-Frame-Options: deny\n", user("secret"));
    let served = serve_with(8, signed.web(&text).unwrap());
    let answer = signed.get(served.address, false, &authorization("secret")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("x-frame-options: deny\r\n"), "{answer}");
    for wrong in [authorization("wrong"), String::new()] {
        let answer = signed.get(served.address, false, &wrong).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 401 ") && answer.contains("www-authenticate: Basic\r\n"),
            "{answer}"
        );
    }
    let plain = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    assert!(!talk_bytes(served.address, plain).await.starts_with(b"HTTP/"), "plain text is not answered");
}

async fn talk_bytes(address: SocketAddr, text: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

#[tokio::test]
async fn certificates_of_clients() {
    let signed = Signed::new();
    let other = Signed::new();
    for (kind, without) in [("RequireAndVerifyClientCert", false), ("VerifyClientCertIfGiven", true)] {
        let text = format!("{TLS}  client_auth_type: {kind}\n  client_ca_file: ca.pem\n");
        let web = signed.web(&text).unwrap();
        assert_eq!(web.authenticates(), !without);
        let served = serve_with(8, web);
        assert!(signed.get(served.address, true, "").await.unwrap().starts_with("HTTP/1.1 200 "));
        assert_eq!(signed.get(served.address, false, "").await.is_ok(), without, "{kind}");
        let stranger = Signed {
            client: (other.client.0.clone(), other.client.1.clone_key()),
            authority: signed.authority.clone(),
            folder: tempfile::tempdir().unwrap(),
        };
        assert!(stranger.get(served.address, true, "").await.is_err(), "{kind}");
    }
}

#[tokio::test]
async fn a_file_that_changes_is_read_again_and_a_bad_one_is_not_taken() {
    let signed = Signed::new();
    let served = serve_with(8, signed.web(&format!("{TLS}{}", user("old"))).unwrap());
    let status = async |password: &str| {
        sleep(Duration::from_millis(1100)).await;
        signed.get(served.address, false, &authorization(password)).await.unwrap()[9..12].to_owned()
    };
    assert_eq!(status("old").await, "200");
    signed.write(&format!("{TLS}{}", user("new")));
    assert_eq!(status("old").await, "401");
    assert_eq!(status("new").await, "200");
    signed.write("basic_auth_users: 5\n");
    assert_eq!(status("new").await, "200");
}

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let signed = Signed::new();
    for (text, word) in [
        ("tls_server_conf:\n  cert_file: a\n", "tls_server_conf"),
        ("tls_server_config:\n  key_file: server.key\n", "cert_file"),
        ("tls_server_config:\n  cert_file: server.pem\n", "key_file"),
        ("tls_server_config:\n  cert_file: none.pem\n  key_file: server.key\n", "none.pem"),
        ("tls_server_config:\n  cert_file: server.key\n  key_file: server.key\n", "certificate"),
        ("basic_auth_users:\n  ada: secret\n", "ada"),
        ("http_server_config:\n  headers:\n    Server: x\n", "Server"),
        ("basic_auth_users: [\n", "web.yml"),
    ]
    .into_iter()
    .map(|(text, word)| (text.to_owned(), word))
    .chain(
        [
            ("client_auth_type: RequireAnyClientCert", "RequireAnyClientCert"),
            ("client_auth_type: RequireAndVerifyClientCert", "client_ca_file"),
            ("client_ca_file: ca.pem", "client_auth_type"),
            ("min_version: TLS10", "TLS10"),
            ("cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]", "RC4"),
            ("curve_preferences: [CurveP521]", "curvep521"),
            ("client_allowed_sans: [a]", "client_allowed_sans"),
        ]
        .map(|(line, word)| (format!("{TLS}  {line}\n"), word)),
    ) {
        let error = signed.web(&text).unwrap_err().to_string();
        assert!(error.contains(word) && !error.contains("secret"), "{text}: {error}");
    }
    let all = format!(
        "{TLS}  min_version: TLS12\n  max_version: TLS13\n  curve_preferences: [X25519, CurveP256]\n  \
         cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]\n  prefer_server_cipher_suites: true\n"
    );
    signed.web(&all).unwrap();
    assert!(WebConfig::load(Some(Path::new("/nonexistent/web.yml"))).is_err());
    assert!(!WebConfig::load(None).unwrap().authenticates());
}
