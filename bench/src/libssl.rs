//! The system's libssl, loaded at run time, and a client and a server that talk through memory.
//!
//! Loaded and not linked, so that the benchmarks build without OpenSSL's headers and probe the
//! library that the machine's programs use.

use std::{
    ffi::{CStr, CString, OsStr, c_char, c_int, c_long, c_void},
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};

type Ptr = *mut c_void;

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions that are used, with OpenSSL's own names and types (objects are untyped).
        #[allow(non_snake_case, reason = "OpenSSL's names")]
        #[derive(Clone, Copy)]
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            fn load(library: Ptr) -> Result<Self> {
                Ok(Self { $($name: {
                    let symbol = symbol(library, stringify!($name))?;
                    // SAFETY: the signature is that of OpenSSL 1.1.0 and later.
                    unsafe { std::mem::transmute::<Ptr, unsafe extern "C" fn($($argument),*) $(-> $result)?>(symbol) }
                },)* })
            }
        }
    };
}

functions! {
    TLS_client_method: fn() -> Ptr;
    TLS_server_method: fn() -> Ptr;
    SSL_CTX_new: fn(Ptr) -> Ptr;
    SSL_CTX_use_certificate_ASN1: fn(Ptr, c_int, *const u8) -> c_int;
    SSL_CTX_use_PrivateKey_ASN1: fn(c_int, Ptr, *const u8, c_long) -> c_int;
    SSL_new: fn(Ptr) -> Ptr;
    SSL_free: fn(Ptr);
    SSL_set_bio: fn(Ptr, Ptr, Ptr);
    SSL_set_connect_state: fn(Ptr);
    SSL_set_accept_state: fn(Ptr);
    SSL_do_handshake: fn(Ptr) -> c_int;
    SSL_get_error: fn(Ptr, c_int) -> c_int;
    SSL_write: fn(Ptr, *const u8, c_int) -> c_int;
    SSL_read: fn(Ptr, *mut u8, c_int) -> c_int;
    BIO_new: fn(Ptr) -> Ptr;
    BIO_s_mem: fn() -> Ptr;
    BIO_up_ref: fn(Ptr) -> c_int;
}

const SSL_ERROR_WANT_READ: c_int = 2;
const EVP_PKEY_EC: c_int = 408;

fn symbol(library: Ptr, name: &str) -> Result<Ptr> {
    let name = CString::new(name)?;
    // SAFETY: a handle from `dlopen` and a C string.
    let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
    ensure!(!symbol.is_null(), "libssl has no {}", name.to_string_lossy());
    Ok(symbol)
}

/// A certificate for `localhost` that nobody trusts, and its key.
pub struct Identity {
    /// Made by rcgen; ECDSA P-256.
    pub certified: rcgen::CertifiedKey<rcgen::KeyPair>,
}

impl Identity {
    /// Makes one.
    ///
    /// # Errors
    /// Where no random numbers can be had.
    pub fn generate() -> Result<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        Ok(Self { certified: rcgen::generate_simple_self_signed(names)? })
    }
}

/// The loaded library, with a client's and a server's context.
pub struct Libssl {
    functions: Functions,
    client: Ptr,
    server: Ptr,
    path: PathBuf,
}

impl Libssl {
    /// Loads the library by the name under which programs do. It stays loaded.
    ///
    /// # Errors
    /// Where there is none, or it is too old.
    pub fn load() -> Result<Self> {
        let names: [&CStr; 3] = [c"libssl.so.3", c"libssl.so.1.1", c"libssl.so"];
        let library = names
            .iter()
            // SAFETY: a C string; libssl's constructors are those that every program runs.
            .map(|name| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) })
            .find(|handle| !handle.is_null())
            .context("no libssl on this machine: install OpenSSL's shared library")?;
        let functions = Functions::load(library)?;
        let identity = Identity::generate()?;
        let certificate = identity.certified.cert.der();
        let key = identity.certified.signing_key.serialized_der();
        // SAFETY: each call follows OpenSSL's manual; lengths are those of the slices.
        let (client, server) = unsafe {
            let client = (functions.SSL_CTX_new)((functions.TLS_client_method)());
            let server = (functions.SSL_CTX_new)((functions.TLS_server_method)());
            ensure!(!client.is_null() && !server.is_null(), "SSL_CTX_new failed");
            let length = c_int::try_from(certificate.len())?;
            ensure!(
                (functions.SSL_CTX_use_certificate_ASN1)(server, length, certificate.as_ptr()) == 1,
                "libssl refused the certificate"
            );
            let length = c_long::try_from(key.len())?;
            ensure!(
                (functions.SSL_CTX_use_PrivateKey_ASN1)(EVP_PKEY_EC, server, key.as_ptr(), length) == 1,
                "libssl refused the key"
            );
            (client, server)
        };
        Ok(Self { functions, client, server, path: path_of(symbol(library, "SSL_write")?)? })
    }

    /// The file that was loaded.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// A client and a server after their handshake.
    ///
    /// # Errors
    /// Where the handshake fails.
    pub fn pair(&self) -> Result<Pair> {
        let f = self.functions;
        // SAFETY: `SSL_set_bio` takes one reference of each BIO; both are used by both sides.
        let pair = unsafe {
            let (client, server) = ((f.SSL_new)(self.client), (f.SSL_new)(self.server));
            let (up, down) = ((f.BIO_new)((f.BIO_s_mem)()), (f.BIO_new)((f.BIO_s_mem)()));
            ensure!(
                ![client, server, up, down].iter().any(|object| object.is_null()),
                "libssl is out of memory"
            );
            (f.BIO_up_ref)(up);
            (f.BIO_up_ref)(down);
            (f.SSL_set_bio)(client, down, up);
            (f.SSL_set_bio)(server, up, down);
            (f.SSL_set_connect_state)(client);
            (f.SSL_set_accept_state)(server);
            Pair { functions: f, client, server }
        };
        // Three flights at most; the bound is against a library that never agrees.
        for _ in 0..8 {
            if pair.advance(pair.client)? & pair.advance(pair.server)? {
                return Ok(pair);
            }
        }
        bail!("the handshake did not end");
    }
}

/// The file that a symbol came from.
fn path_of(symbol: Ptr) -> Result<PathBuf> {
    // SAFETY: all-zero is a valid `Dl_info`, filled by `dladdr`; its name lives as long as the library.
    let name = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        ensure!(libc::dladdr(symbol, &raw mut info) != 0 && !info.dli_fname.is_null(), "dladdr failed");
        CStr::from_ptr(info.dli_fname.cast::<c_char>())
    };
    PathBuf::from(OsStr::from_bytes(name.to_bytes())).canonicalize().context("find libssl's file")
}

/// Which end of a [`Pair`] acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The TLS client.
    Client,
    /// The TLS server.
    Server,
}

/// One TLS connection, both of whose ends are in this process.
pub struct Pair {
    functions: Functions,
    client: Ptr,
    server: Ptr,
}

impl Pair {
    fn ssl(&self, end: End) -> Ptr {
        match end {
            End::Client => self.client,
            End::Server => self.server,
        }
    }

    /// Takes a handshake as far as it goes; whether it is over.
    fn advance(&self, ssl: Ptr) -> Result<bool> {
        // SAFETY: `ssl` is one of ours.
        let (result, error) = unsafe {
            let result = (self.functions.SSL_do_handshake)(ssl);
            (result, (self.functions.SSL_get_error)(ssl, result))
        };
        ensure!(result == 1 || error == SSL_ERROR_WANT_READ, "the handshake failed, SSL error {error}");
        Ok(result == 1)
    }

    /// One `SSL_write`. A memory BIO takes all.
    ///
    /// # Errors
    /// Where libssl took less.
    pub fn write(&mut self, end: End, bytes: &[u8]) -> Result<()> {
        let length = c_int::try_from(bytes.len())?;
        // SAFETY: the slice is as long as said.
        let written = unsafe { (self.functions.SSL_write)(self.ssl(end), bytes.as_ptr(), length) };
        ensure!(written == length, "SSL_write took {written} of {length} bytes");
        Ok(())
    }

    /// One `SSL_read`; the number of bytes read.
    ///
    /// # Errors
    /// Where there is nothing to read.
    pub fn read(&mut self, end: End, buffer: &mut [u8]) -> Result<usize> {
        let length = c_int::try_from(buffer.len())?;
        // SAFETY: the slice is as long as said.
        let read = unsafe { (self.functions.SSL_read)(self.ssl(end), buffer.as_mut_ptr(), length) };
        ensure!(read > 0, "SSL_read returned {read}");
        Ok(read.unsigned_abs() as usize)
    }

    /// Sends `bytes`, of any length, from one end and reads them at the other.
    ///
    /// # Errors
    /// As [`write`](Self::write) and [`read`](Self::read).
    pub fn send(&mut self, from: End, bytes: &[u8], buffer: &mut [u8]) -> Result<()> {
        let to = if from == End::Client { End::Server } else { End::Client };
        self.write(from, bytes)?;
        let mut left = bytes.len();
        while left > 0 {
            left = left.checked_sub(self.read(to, buffer)?).context("more was read than written")?;
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // SAFETY: both are ours and not used again; each frees its references to the BIOs.
        unsafe {
            (self.functions.SSL_free)(self.client);
            (self.functions.SSL_free)(self.server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pair_carries_bytes_both_ways() {
        let library = Libssl::load().unwrap();
        assert!(library.path().is_absolute());
        let mut pair = library.pair().unwrap();
        let mut buffer = vec![0; 16 << 10];
        pair.write(End::Client, b"up").unwrap();
        assert_eq!(pair.read(End::Server, &mut buffer).unwrap(), 2);
        assert_eq!(&buffer[..2], b"up");
        pair.send(End::Server, &[7; 100_000], &mut buffer).unwrap();
        assert!(pair.read(End::Client, &mut buffer).is_err());
    }
}
