//! PURE but for randomness. Who is logged in: sessions in memory, which end when nothing was asked for a while, after some
//! hours in any case, when their account has changed, and with the console. The browser holds a random token, the console
//! only its hash.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::accounts::{Account, Role};
use crate::clock::MonoTime;
use crate::seal::Secret;

/// Sessions at a time; beyond that the one that was idle longest ends.
const MAX_SESSIONS: usize = 200;

/// What a browser holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// As it goes into a cookie.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the console knows a token by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Of what a browser sent.
    pub fn of(token: &str) -> Self {
        Self(*blake3::hash(token.as_bytes()).as_bytes())
    }
}

/// A message for the next page, shown once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flash {
    /// Whether it is about something that did not work.
    pub is_error: bool,
    /// What to say.
    pub text: String,
}

#[derive(Debug)]
struct Session {
    account: String,
    /// Of the account as it was at login; another one has another password or role.
    account_hash: [u8; 32],
    csrf: String,
    began: MonoTime,
    newest: MonoTime,
    flash: Option<Flash>,
}

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// Their account.
    pub account: String,
    /// What it may do.
    pub role: Role,
    /// What each of their changes has to bear.
    pub csrf: String,
    /// Their session.
    pub session: TokenHash,
}

impl Visitor {
    /// Whether they may what this role may.
    pub fn may(&self, role: Role) -> bool {
        self.role >= role
    }
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    all: HashMap<TokenHash, Session>,
    idle: Duration,
    longest: Duration,
}

impl Sessions {
    /// None yet; they end after `idle` without a question and after `longest` in any case.
    pub fn new(idle: Duration, longest: Duration) -> Self {
        Self { all: HashMap::new(), idle, longest }
    }

    /// Begins one for an account whose password was right.
    pub fn begin(&mut self, account: &Account, now: MonoTime) -> Token {
        self.forget_ended(now);
        while self.all.len() >= MAX_SESSIONS {
            let oldest = self.all.iter().min_by_key(|(_, session)| session.newest).map(|(hash, _)| *hash);
            let Some(oldest) = oldest else { break };
            self.all.remove(&oldest);
        }
        let token = Token(random());
        let session = Session {
            account: account.name.as_str().to_owned(),
            account_hash: fingerprint(account),
            csrf: random(),
            began: now,
            newest: now,
            flash: None,
        };
        self.all.insert(TokenHash::of(&token.0), session);
        token
    }

    /// Whose session it is. `account` finds accounts as they are now. Only what somebody asks, and not what a page asks
    /// by itself, `counts` as use.
    pub fn visitor<'a>(
        &mut self,
        session: TokenHash,
        account: impl FnOnce(&str) -> Option<&'a Account>,
        counts: bool,
        now: MonoTime,
    ) -> Option<Visitor> {
        let (idle, longest) = (self.idle, self.longest);
        let found = self.all.get_mut(&session)?;
        let over = now.since(found.newest) >= idle || now.since(found.began) >= longest;
        let account = account(&found.account).filter(|account| fingerprint(account) == found.account_hash);
        let (false, Some(account)) = (over, account) else {
            self.all.remove(&session);
            return None;
        };
        if counts {
            found.newest = now;
        }
        Some(Visitor {
            account: found.account.clone(),
            role: account.role,
            csrf: found.csrf.clone(),
            session,
        })
    }

    /// Leaves a message for the session's next page.
    pub fn leave(&mut self, session: TokenHash, flash: Flash) {
        if let Some(session) = self.all.get_mut(&session) {
            session.flash = Some(flash);
        }
    }

    /// Takes the message that was left.
    pub fn take(&mut self, session: TokenHash) -> Option<Flash> {
        self.all.get_mut(&session)?.flash.take()
    }

    /// Ends one.
    pub fn end(&mut self, session: TokenHash) {
        self.all.remove(&session);
    }

    fn forget_ended(&mut self, now: MonoTime) {
        let (idle, longest) = (self.idle, self.longest);
        self.all.retain(|_, s| now.since(s.newest) < idle && now.since(s.began) < longest);
    }
}

fn fingerprint(account: &Account) -> [u8; 32] {
    *blake3::hash(format!("{} {}", account.role, account.password).as_bytes()).as_bytes()
}

/// 32 bytes that nobody can guess, as text.
fn random() -> String {
    let secret = Secret::generate().expect("the kernel has random bytes once it has started");
    URL_SAFE_NO_PAD.encode(secret.bytes())
}

/// Whether two secrets are the same, told in a time that does not depend on where they differ.
pub fn is_same(a: &str, b: &str) -> bool {
    blake3::hash(a.as_bytes()) == blake3::hash(b.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, role: Role, password: &str) -> Account {
        Account { name: name.parse().unwrap(), role, password: password.into() }
    }

    fn sessions() -> Sessions {
        Sessions::new(Duration::from_secs(600), Duration::from_secs(3600))
    }

    fn at(s: u64) -> MonoTime {
        MonoTime::from_millis(s * 1000)
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_after_its_longest_time() {
        let (ada, mut all) = (account("ada", Role::Admin, "$1"), sessions());
        let hash = TokenHash::of(all.begin(&ada, at(0)).as_str());
        let mut ask = |counts, s| all.visitor(hash, |_| Some(&ada), counts, at(s)).is_some();
        assert!(ask(true, 599));
        assert!(ask(true, 1_198));
        assert!(ask(false, 1_797), "a page that asks by itself is no use of it");
        assert!(!ask(true, 1_798), "nobody has used it for ten minutes");

        let hash = TokenHash::of(all.begin(&ada, at(0)).as_str());
        let last = (1..7).all(|n| all.visitor(hash, |_| Some(&ada), true, at(n * 599)).is_some());
        assert!(last);
        assert!(all.visitor(hash, |_| Some(&ada), true, at(3_600)).is_none(), "an hour is over");
    }

    #[test]
    fn a_session_ends_with_its_account_its_role_or_its_password() {
        let ada = account("ada", Role::Admin, "$1");
        for now in [None, Some(account("ada", Role::Viewer, "$1")), Some(account("ada", Role::Admin, "$2"))] {
            let mut all = sessions();
            let hash = TokenHash::of(all.begin(&ada, at(0)).as_str());
            assert!(all.visitor(hash, |_| now.as_ref(), true, at(1)).is_none());
            assert!(all.visitor(hash, |_| Some(&ada), true, at(1)).is_none(), "for good");
        }
    }

    #[test]
    fn tokens_differ_and_only_the_right_one_is_a_session() {
        let (ada, mut all) = (account("ada", Role::Admin, "$1"), sessions());
        let (one, other) = (all.begin(&ada, at(0)), all.begin(&ada, at(0)));
        assert_ne!(one.as_str(), other.as_str());
        assert!(one.as_str().len() >= 43);
        let a = all.visitor(TokenHash::of(one.as_str()), |_| Some(&ada), true, at(1)).unwrap();
        let b = all.visitor(TokenHash::of(other.as_str()), |_| Some(&ada), true, at(1)).unwrap();
        assert_ne!(a.csrf, b.csrf);
        assert!(all.visitor(TokenHash::of("guess"), |_| Some(&ada), true, at(1)).is_none());
        all.end(a.session);
        assert!(all.visitor(a.session, |_| Some(&ada), true, at(1)).is_none());
    }

    #[test]
    fn a_message_is_shown_once() {
        let (ada, mut all) = (account("ada", Role::Admin, "$1"), sessions());
        let hash = TokenHash::of(all.begin(&ada, at(0)).as_str());
        all.leave(hash, Flash { is_error: false, text: "done".into() });
        assert_eq!(all.take(hash).map(|flash| flash.text), Some("done".into()));
        assert_eq!(all.take(hash), None);
    }

    #[test]
    fn there_are_only_so_many_sessions_and_the_idlest_ends_first() {
        let (ada, mut all) = (account("ada", Role::Admin, "$1"), sessions());
        let tokens: Vec<Token> = (0..=MAX_SESSIONS as u64).map(|n| all.begin(&ada, at(n))).collect();
        assert_eq!(all.all.len(), MAX_SESSIONS);
        let now = at(MAX_SESSIONS as u64);
        assert!(all.visitor(TokenHash::of(tokens[0].as_str()), |_| Some(&ada), true, now).is_none());
        assert!(all.visitor(TokenHash::of(tokens[1].as_str()), |_| Some(&ada), true, now).is_some());
    }
}
