//! Secrets that nobody set: generated once, kept in the data directory, readable by their owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use airouter_auth::{EncryptionKeys, Pseudonyms, TokenKeys};
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use crate::config::Config;

/// No secret file is longer: 16 keys in base64.
const LONGEST: u64 = 4096;

/// Creates the data directory, if it is not there, for its owner only.
pub(crate) fn create_data_dir(directory: &Path) -> anyhow::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| {
            format!(
                "the data directory {} can't be created",
                directory.display()
            )
        })
}

/// The keys that seal stored secrets: `ENCRYPTION_KEY`, else the generated ones.
pub(crate) fn encryption_keys(config: &Config) -> anyhow::Result<EncryptionKeys> {
    let text = set_or_generated(
        config.secrets.encryption_key.as_ref(),
        &config.storage.data_dir.join("encryption_key"),
    )?;
    EncryptionKeys::parse(&text).context("the stored encryption key can't be read")
}

/// What access tokens are signed with: keys derived from each of `SECRET_KEY`.
pub(crate) fn token_keys(config: &Config) -> anyhow::Result<TokenKeys> {
    TokenKeys::parse(&secret_key(config)?).context("the stored secret key can't be read")
}

fn secret_key(config: &Config) -> anyhow::Result<SecretString> {
    set_or_generated(
        config.secrets.secret_key.as_ref(),
        &config.storage.data_dir.join("secret_key"),
    )
}

/// What makes pseudonyms: the last of `SECRET_KEY`, so that a new key put in front changes no pseudonym.
pub(crate) fn pseudonyms(config: &Config) -> anyhow::Result<Pseudonyms> {
    let text = secret_key(config)?;
    let oldest = text.expose_secret().rsplit(',').next().unwrap_or_default();
    let bytes = BASE64
        .decode(oldest.trim())
        .context("the stored secret key can't be read")?;
    Ok(Pseudonyms::new(&SecretSlice::from(bytes)))
}

fn set_or_generated(set: Option<&SecretString>, path: &Path) -> anyhow::Result<SecretString> {
    match set {
        Some(text) => Ok(text.clone()),
        None => {
            read_or_create(path).with_context(|| format!("the secret in {} failed", path.display()))
        }
    }
}

/// Reads a private text, or creates it from 32 random bytes. Of two processes that create it at once, one wins.
fn read_or_create(path: &Path) -> anyhow::Result<SecretString> {
    if let Some(text) = read(path)? {
        return Ok(text);
    }
    write_new(path, &EncryptionKeys::generate()?)?;
    read(path)?.context("it is gone as soon as it was written")
}

/// Reads a private text; `None` if there is none.
pub(crate) fn read(path: &Path) -> io::Result<Option<SecretString>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(Some(SecretString::from(text.trim())))
}

/// Writes a private text, whole and durably, unless there is one already.
pub(crate) fn write_new(path: &Path, text: &SecretString) -> io::Result<()> {
    let temporary = with_suffix(path, &format!(".{}", uuid::Uuid::now_v7().simple()));
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = writeln!(file, "{}", text.expose_secret())
        .and_then(|()| file.sync_all())
        // Unlike a rename, a link never replaces what another process has put there.
        .and_then(|()| match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            Ok(()) | Err(_) => Ok(()),
        });
    fs::remove_file(&temporary)?;
    written?;
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret_key");
        let first = read_or_create(&path).unwrap();
        let second = read_or_create(&path).unwrap();
        assert_eq!(first.expose_secret(), second.expose_secret());
        assert_eq!(BASE64.decode(first.expose_secret()).unwrap().len(), 32);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }

    #[test]
    fn of_two_that_write_the_first_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret_key");
        write_new(&path, &SecretString::from("first")).unwrap();
        write_new(&path, &SecretString::from("second")).unwrap();
        assert_eq!(read(&path).unwrap().unwrap().expose_secret(), "first");
    }
}
