//! Passwords (RFC 7617), kept as bcrypt hashes.
//!
//! bcrypt is slow on purpose, so whoever can reach the address could make the host compute. One password is
//! checked at a time, one that was wrong is followed by a pause nine times as long as the check took, and one
//! that was right is remembered: guessing costs a tenth of a core at most, and a scrape costs one hash.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::header::HeaderValue;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN};
use tokio::sync::Semaphore;

use crate::random;

/// How long a password may wait to be checked.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// The pause after a wrong one, as a multiple of the time that the check took.
const PAUSE: u32 = 9;
/// Right ones that are remembered. There is one for each user, as long as nobody changes theirs.
const REMEMBERED: usize = 256;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Right,
    Wrong,
    /// Too many wait.
    Busy,
}

/// The users and their hashes.
#[derive(Debug)]
pub(super) struct Users {
    hashes: BTreeMap<String, String>,
    salt: [u8; 32],
    right: Mutex<HashSet<[u8; SHA256_OUTPUT_LEN]>>,
    turn: Arc<Semaphore>,
}

impl Users {
    /// Checks that what is given are bcrypt hashes.
    pub(super) fn new(hashes: BTreeMap<String, String>) -> Result<Self, String> {
        for (user, hash) in &hashes {
            if hash.parse::<bcrypt::HashParts>().is_err() {
                return Err(format!("what `basic_auth_users` has for `{user}` is no bcrypt hash"));
            }
        }
        let salt = random::bytes().map_err(|error| format!("there are no random numbers: {error}"))?;
        Ok(Self { hashes, salt, right: Mutex::default(), turn: Arc::new(Semaphore::new(1)) })
    }

    /// Whether an `Authorization` header is one of theirs.
    pub(super) async fn check(&self, header: Option<&HeaderValue>) -> Answer {
        let Some((user, password)) = header.and_then(credentials) else { return Answer::Wrong };
        let known = self.hashes.get(&user);
        // One that nobody has takes as long as one that somebody has.
        let Some(hash) = known.or_else(|| self.hashes.values().next()).cloned() else { return Answer::Wrong };
        let digest = self.digest([user.as_bytes(), hash.as_bytes(), &password]);
        if self.right.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest) && known.is_some() {
            return Answer::Right;
        }
        let turn = tokio::time::timeout(TURN_WITHIN, Arc::clone(&self.turn).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Answer::Busy };
        let begun = Instant::now();
        // Other tasks of this thread go on meanwhile.
        let checked =
            tokio::task::spawn_blocking(move || bcrypt::verify(&password, &hash).unwrap_or(false)).await;
        if checked.unwrap_or(false) && known.is_some() {
            let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
            if right.len() >= REMEMBERED {
                right.clear();
            }
            right.insert(digest);
            return Answer::Right;
        }
        let pause = begun.elapsed().saturating_mul(PAUSE);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            drop(turn);
        });
        Answer::Wrong
    }

    /// Nothing from which a password could be found, should this memory be read.
    fn digest(&self, parts: [&[u8]; 3]) -> [u8; SHA256_OUTPUT_LEN] {
        let mut context = ring::digest::Context::new(&SHA256);
        context.update(&self.salt);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut digest = [0; SHA256_OUTPUT_LEN];
        digest.copy_from_slice(context.finish().as_ref());
        digest
    }
}

fn credentials(header: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, token) = header.to_str().ok()?.split_once(' ')?;
    let decoded = STANDARD.decode(token.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let user = String::from_utf8(decoded.get(..colon)?.to_vec()).ok()?;
    Some((user, decoded.get(colon + 1..)?.to_vec()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn basic(user: &str, password: &str) -> String {
        format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
    }

    fn users() -> Users {
        let hash = bcrypt::hash("secret", 4).unwrap();
        Users::new(BTreeMap::from([("ada".to_owned(), hash)])).unwrap()
    }

    async fn check(users: &Users, header: &str) -> Answer {
        users.check(Some(&HeaderValue::from_str(header).unwrap())).await
    }

    #[tokio::test]
    async fn passwords_are_checked() {
        let users = users();
        assert_eq!(check(&users, &basic("ada", "secret")).await, Answer::Right);
        for header in [
            basic("ada", "other"),
            basic("eve", "secret"),
            basic("", ""),
            "Basic !".to_owned(),
            "Basic".to_owned(),
            basic("ada", "secret").replacen("Basic", "Bearer", 1),
        ] {
            assert_eq!(check(&users, &header).await, Answer::Wrong, "{header}");
        }
        assert_eq!(users.check(None).await, Answer::Wrong);
        assert_eq!(check(&users, &basic("ada", "secret")).await, Answer::Right);
    }

    #[tokio::test]
    async fn guessing_waits_and_what_is_right_does_not() {
        let users = users();
        assert_eq!(check(&users, &basic("ada", "secret")).await, Answer::Right);
        // Somebody guesses without end.
        let turn = Arc::clone(&users.turn).acquire_owned().await.unwrap();
        tokio::time::pause();
        assert_eq!(check(&users, &basic("ada", "secret")).await, Answer::Right, "remembered, not computed");
        assert_eq!(check(&users, &basic("ada", "guess")).await, Answer::Busy);
        drop(turn);
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        for hash in ["secret", "", "$2b$04$short", "$1$abc$def"] {
            let error = Users::new(BTreeMap::from([("ada".to_owned(), hash.to_owned())])).unwrap_err();
            assert!(error.contains("ada") && !error.contains("secret"), "{error}");
        }
    }
}
