//! `tls_server_config` of the web configuration, in rustls' words.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use serde::Deserialize;

use super::web_config::{WebConfigError, read};

/// As it is written. Certificates and key are files, or stand there themselves.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    client_ca_file: Option<PathBuf>,
    cert: Option<String>,
    key: Option<Secret>,
    client_ca: Option<String>,
    client_auth_type: ClientAuth,
    min_version: Version,
    max_version: MaxVersion,
    cipher_suites: Vec<String>,
    curve_preferences: Vec<String>,
    prefer_server_cipher_suites: Option<bool>,
}

/// A private key that nobody prints.
#[derive(Deserialize)]
#[serde(transparent)]
struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Go's names (`crypto/tls.ClientAuthType`) of what is offered here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum ClientAuth {
    #[default]
    NoClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum Version {
    #[default]
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

/// The other default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
struct MaxVersion(Version);

impl Default for MaxVersion {
    fn default() -> Self {
        Self(Version::Tls13)
    }
}

impl Settings {
    /// The files that it names.
    pub(super) fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let named = [&self.cert_file, &self.key_file, &self.client_ca_file];
        named.into_iter().flatten().map(|file| folder.join(file)).collect()
    }

    /// Whether a client without a certificate is sent away.
    pub(super) fn verifies_clients(&self) -> bool {
        self.client_auth_type == ClientAuth::RequireAndVerifyClientCert
    }

    /// The configuration for connections; `path` is the file that says it, for errors.
    pub(super) fn build(self, folder: &Path, path: &Path) -> Result<Arc<ServerConfig>, WebConfigError> {
        let unusable = |what: String| WebConfigError::Unusable { path: path.to_owned(), what };
        let certificates = pem(self.cert_file, self.cert, folder)?
            .ok_or_else(|| unusable("`cert_file` or `cert` is missing".to_owned()))?;
        let key = pem(self.key_file, self.key.map(|Secret(key)| key), folder)?
            .ok_or_else(|| unusable("`key_file` or `key` is missing".to_owned()))?;
        let certificates = chain(&certificates)
            .map_err(|error| unusable(format!("the certificate cannot be read: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| unusable(format!("the private key cannot be read: {error}")))?;

        let provider = Arc::new(
            choose(ring::default_provider(), &self.cipher_suites, &self.curve_preferences)
                .map_err(unusable)?,
        );
        let versions: &[_] = match (self.min_version, self.max_version.0) {
            (Version::Tls12, Version::Tls13) => &[&TLS13, &TLS12],
            (Version::Tls13, Version::Tls13) => &[&TLS13],
            (Version::Tls12, Version::Tls12) => &[&TLS12],
            (Version::Tls13, Version::Tls12) => {
                return Err(unusable("`min_version` is above `max_version`".to_owned()));
            }
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| unusable(error.to_string()))?;
        let authorities = pem(self.client_ca_file, self.client_ca, folder)?;
        let builder = match (self.client_auth_type, authorities) {
            (ClientAuth::NoClientCert, None) => builder.with_no_client_auth(),
            (ClientAuth::NoClientCert, Some(_)) => {
                let what = "`client_ca_file` needs a `client_auth_type` that verifies";
                return Err(unusable(what.to_owned()));
            }
            (_, None) => return Err(unusable("`client_auth_type` needs a `client_ca_file`".to_owned())),
            (kind, Some(authorities)) => {
                let mut roots = RootCertStore::empty();
                let authorities = chain(&authorities)
                    .map_err(|error| unusable(format!("`client_ca_file` cannot be read: {error}")))?;
                for authority in authorities {
                    roots.add(authority).map_err(|error| unusable(format!("`client_ca_file`: {error}")))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match kind {
                    ClientAuth::RequireAndVerifyClientCert => verifier,
                    _ => verifier.allow_unauthenticated(),
                };
                let verifier =
                    verifier.build().map_err(|error| unusable(format!("`client_ca_file`: {error}")))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder
            .with_single_cert(certificates, key)
            .map_err(|error| unusable(format!("certificate and key do not go together: {error}")))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ignore_client_order = self.prefer_server_cipher_suites.unwrap_or(true);
        Ok(Arc::new(config))
    }
}

/// What stands in a file or in the text itself.
fn pem(
    file: Option<PathBuf>,
    text: Option<String>,
    folder: &Path,
) -> Result<Option<Vec<u8>>, WebConfigError> {
    match (file, text) {
        (Some(file), _) => read(&folder.join(file)).map(Some),
        (None, text) => Ok(text.map(String::into_bytes)),
    }
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if chain.is_empty() { Err("there is none in it".to_owned()) } else { Ok(chain) }
}

/// What of the provider is wanted. As with Go, the suites of TLS 1.3 are not a matter of choice.
fn choose(provider: CryptoProvider, suites: &[String], curves: &[String]) -> Result<CryptoProvider, String> {
    let CryptoProvider { cipher_suites, kx_groups, .. } = provider;
    let suite = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite());
    let is_13 = |suite: &rustls::SupportedCipherSuite| suite.version().version == TLS13.version;
    // Go's names of what rustls calls after the standard.
    let curve = |name: &str| match name {
        "CurveP256" => "secp256r1".to_owned(),
        "CurveP384" => "secp384r1".to_owned(),
        name => name.to_ascii_lowercase(),
    };
    let mut provider = CryptoProvider { cipher_suites, kx_groups, ..ring::default_provider() };
    if !suites.is_empty() {
        let known: Vec<_> = provider.cipher_suites.iter().map(suite).collect();
        if let Some(wrong) = suites.iter().find(|wanted| !known.contains(wanted)) {
            return Err(format!("`cipher_suites`: there is no {wrong}; there are {}", known.join(", ")));
        }
        provider.cipher_suites.retain(|known| is_13(known) || suites.contains(&suite(known)));
    }
    if !curves.is_empty() {
        let wanted: Vec<_> = curves.iter().map(|name| curve(name)).collect();
        let named = |group: &&dyn rustls::crypto::SupportedKxGroup| {
            format!("{:?}", group.name()).to_ascii_lowercase()
        };
        let known: Vec<_> = provider.kx_groups.iter().map(named).collect();
        if let Some(wrong) = wanted.iter().find(|wanted| !known.contains(wanted)) {
            return Err(format!("`curve_preferences`: there is no {wrong}; there are {}", known.join(", ")));
        }
        provider.kx_groups.retain(|group| wanted.contains(&named(group)));
    }
    Ok(provider)
}
