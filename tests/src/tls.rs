//! A throw-away certificate authority, one leaf for every name that the stand-in answers to, and one for a
//! client.

use std::{fs, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// Names in the leaf: loopback, and the providers that some clients are made to believe in.
const NAMES: [&str; 12] = [
    "localhost",
    "127.0.0.1",
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "standin.openai.azure.com",
    "bedrock-runtime.us-east-1.amazonaws.com",
    "api.cohere.com",
    "api.mistral.ai",
    "api.groq.com",
    "ollama.com",
    "openrouter.ai",
];

/// The authority, the leaf and its key, as files for clients and proxies and as a configuration for
/// the stand-in's own server. The files go when this is dropped.
#[derive(Debug)]
pub struct Identity {
    directory: tempfile::TempDir,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// Makes new keys.
    ///
    /// # Errors
    ///
    /// Where the files cannot be written.
    pub fn new() -> Result<Self> {
        let mut authority = CertificateParams::new(Vec::new())?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(DnType::CommonName, "llm-tracker tests");
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let authority_pem = authority.self_signed(&key)?.pem();
        let issuer = Issuer::new(authority, key);

        let mut leaf = CertificateParams::new(NAMES.map(String::from).to_vec())?;
        leaf.distinguished_name.push(DnType::CommonName, "stand-in provider");
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let leaf = leaf.signed_by(&key, &issuer)?;

        let mut client = CertificateParams::new(vec!["client.example".to_owned()])?;
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client_key = KeyPair::generate()?;
        let client = client.signed_by(&client_key, &issuer)?;

        let directory = tempfile::Builder::new().prefix("llm-tracker-tls-").tempdir()?;
        fs::write(directory.path().join("ca.pem"), authority_pem)?;
        fs::write(directory.path().join("leaf.pem"), leaf.pem())?;
        fs::write(directory.path().join("leaf.key"), key.serialize_pem())?;
        fs::write(directory.path().join("client.pem"), client.pem())?;
        fs::write(directory.path().join("client.key"), client_key.serialize_pem())?;
        let names = NAMES.iter().filter(|name| !name.starts_with("127.")).copied().collect::<Vec<_>>();
        fs::write(directory.path().join("hosts"), format!("127.0.0.1 {}\n", names.join(" ")))?;
        // Clients of another user have to read the authority.
        readable_by_all(directory.path())?;

        let mut server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
            )
            .context("the leaf does not fit its key")?;
        // The first that the client offers too.
        server.alpn_protocols = vec![b"http/1.1".to_vec(), b"h2".to_vec()];
        Ok(Self { directory, server: Arc::new(server) })
    }

    /// The authority's certificate, for `SSL_CERT_FILE` and its like.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The leaf's certificate, for a proxy.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("leaf.pem")
    }

    /// The leaf's private key, for a proxy.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.directory.path().join("leaf.key")
    }

    /// The client's certificate, for a server that asks for one.
    #[must_use]
    pub fn client_certificate(&self) -> PathBuf {
        self.directory.path().join("client.pem")
    }

    /// Its private key.
    #[must_use]
    pub fn client_key(&self) -> PathBuf {
        self.directory.path().join("client.key")
    }

    /// A hosts file in which every name of the leaf is loopback.
    #[must_use]
    pub fn hosts(&self) -> PathBuf {
        self.directory.path().join("hosts")
    }

    pub(crate) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

fn readable_by_all(path: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o755))?)
}
