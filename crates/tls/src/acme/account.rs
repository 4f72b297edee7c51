//! Our account with a directory: loaded, or made on first use, and kept up to date.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use config::{Acme, AcmeEab};
use instant_acme::{Account, ExternalAccountKey, NewAccount};
use tokio::sync::{Mutex, Semaphore};

use super::failure::{AcmeError, AcmeErrorKind};
use super::http::{DirectoryClient, Transport};
use super::store::{Store, StoredAccount};

/// Orders that are carried out at the same time with one directory.
const ORDERS_MAX: usize = 4;

/// How a directory is reached, by the settings.
pub(super) type Connect = Arc<dyn Fn(&Acme) -> Result<Arc<dyn Transport>, String> + Send + Sync>;

/// One directory, shared by everything that is ordered there.
pub(super) struct Directory {
    pub(super) store: Store,
    connect: Connect,
    /// Held while the account is loaded, so that only one is created.
    one_account: Mutex<()>,
    /// Room for orders.
    pub(super) orders: Semaphore,
}

/// A session with a directory, with an account.
pub(super) struct DirectorySession {
    pub(super) account: Account,
    pub(super) link: DirectoryClient,
}

impl Directory {
    pub(super) fn new(store: Store, connect: Connect) -> Self {
        Self { store, connect, one_account: Mutex::default(), orders: Semaphore::new(ORDERS_MAX) }
    }

    /// Opens a session; creates an account if there is none. The directory object is fetched each time.
    pub(super) async fn visit(&self, acme: &Acme) -> Result<DirectorySession, AcmeError> {
        let _alone = self.one_account.lock().await;
        let link = DirectoryClient::new((self.connect)(acme).map_err(AcmeError::local)?);
        let stored = self.store.account().map_err(|error| AcmeError::local(error.to_string()))?;
        let account = match stored {
            Some(stored) => self.restore(acme, &link, stored).await?,
            None => self.register(acme, &link).await?,
        };
        Ok(DirectorySession { account, link })
    }

    /// Like [`Self::visit`], but `None` if there is no account yet.
    pub(super) async fn visit_known(
        &self,
        acme: &Acme,
    ) -> Result<Option<DirectorySession>, AcmeError> {
        match self.store.account() {
            Ok(Some(_)) => self.visit(acme).await.map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(AcmeError::local(error.to_string())),
        }
    }

    async fn restore(
        &self,
        acme: &Acme,
        link: &DirectoryClient,
        stored: StoredAccount,
    ) -> Result<Account, AcmeError> {
        let StoredAccount { contacts, credentials, .. } = stored;
        let as_text =
            serde_json::to_value(&credentials).map_err(|e| AcmeError::local(e.to_string()))?;
        let account = Account::builder_with_http(Box::new(link.clone()))
            .from_credentials(credentials)
            .await
            .map_err(|error| {
                AcmeError::from_error("use the directory", &error, link.retry_after())
            })?;
        let wanted: Vec<&str> = acme.contacts.iter().map(AsRef::as_ref).collect();
        if contacts == wanted {
            return Ok(account);
        }
        // A certificate matters more than a contact: this is tried again with the next order.
        match account.update_contacts(&wanted).await {
            Ok(()) => {
                let credentials =
                    serde_json::from_value(as_text).map_err(|e| AcmeError::local(e.to_string()))?;
                self.save(acme, credentials)?;
            }
            Err(error) => {
                let failure =
                    AcmeError::from_error("change the contacts", &error, link.retry_after());
                if failure.kind == AcmeErrorKind::NoAccount {
                    return Err(failure);
                }
                tracing::warn!(directory = %acme.directory, error = %failure, "the contacts of the ACME account stay as they are");
            }
        }
        Ok(account)
    }

    async fn register(&self, acme: &Acme, link: &DirectoryClient) -> Result<Account, AcmeError> {
        let contact: Vec<&str> = acme.contacts.iter().map(AsRef::as_ref).collect();
        let eab = acme.eab.as_ref().map(external_key).transpose().map_err(AcmeError::local)?;
        let wanted = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = Account::builder_with_http(Box::new(link.clone()))
            .create(&wanted, acme.directory.to_string(), eab.as_ref())
            .await
            .map_err(|error| {
                let mut failure = AcmeError::from_error(
                    &format!("make an account with {}", acme.directory),
                    &error,
                    link.retry_after(),
                );
                if failure.message.contains("externalAccountRequired") {
                    failure.message.push_str("; give the key that the CA handed out by `eab`");
                }
                failure
            })?;
        self.save(acme, credentials)?;
        tracing::info!(directory = %acme.directory, account = account.id(), "ACME account made");
        Ok(account)
    }

    fn save(
        &self,
        acme: &Acme,
        credentials: instant_acme::AccountCredentials,
    ) -> Result<(), AcmeError> {
        let stored = StoredAccount {
            directory: acme.directory.to_string(),
            contacts: acme.contacts.iter().map(ToString::to_string).collect(),
            credentials,
        };
        self.store.save_account(&stored).map_err(AcmeError::local)
    }
}

/// The key that binds our account to one outside (RFC 8555, section 7.3.4).
pub(super) fn external_key(eab: &AcmeEab) -> Result<ExternalAccountKey, String> {
    let bytes = config::read_file(&eab.key_file, 64 << 10);
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other));
    let text = text.map_err(|error| {
        format!("cannot read the EAB key in {}: {error}", eab.key_file.display())
    })?;
    let key = decode(text.trim()).ok_or_else(|| bad_key(&eab.key_file))?;
    Ok(ExternalAccountKey::new(eab.key_id.to_string(), &key))
}

fn bad_key(path: &Path) -> String {
    format!("the EAB key in {} is not base64url, as CAs hand it out", path.display())
}

/// Base64 of either alphabet, with padding or without: CAs differ.
fn decode(text: &str) -> Option<Vec<u8>> {
    let any = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::URL_SAFE, any);
    let urlsafe = text.replace('+', "-").replace('/', "_");
    engine.decode(urlsafe).ok().filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_external_accounts() {
        for (text, expected) in [
            ("-_8", Some(&[0xFB, 0xFF][..])),
            ("+/8=", Some(&[0xFB, 0xFF][..])),
            ("", None),
            ("not base64!", None),
        ] {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
    }
}
