//! Texts beside a tool, for the model to read.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use crate::base::text::{self, TextError};

/// The most of a README that a model is shown with each call.
const README_BYTES_MAX: usize = 8 << 10;

/// The beginning of a file that lies in each of `folders`, wherever links lead.
///
/// Errors: it cannot be read, is no file, or lies elsewhere.
pub(super) fn read(path: &Path, folders: &[&Path]) -> Result<String, TextError> {
    let file = text::open(path)?;
    // What is judged is what was opened: a link could be another one by a second look.
    let place = text::place_of(&file)?;
    for folder in folders {
        if !place.starts_with(folder.canonicalize()?) {
            return Err(TextError::Linked);
        }
    }
    let mut bytes = Vec::new();
    let most = README_BYTES_MAX as u64 + 1;
    file.take(most).read_to_end(&mut bytes)?;
    let is_cut = bytes.len() > README_BYTES_MAX;
    bytes.truncate(README_BYTES_MAX);
    let text = String::from_utf8_lossy(&bytes);
    if !is_cut {
        return Ok(text.trim().to_owned());
    }
    // A character that was cut in two became this.
    let text = text.trim_end_matches('\u{fffd}');
    Ok(format!("{text}\n[… the rest is left out …]"))
}

/// The path leads to something inside a folder, wherever its links go; not so where either cannot
/// be followed.
pub(super) fn is_inside(path: &Path, folder: &Path) -> bool {
    match (fs::canonicalize(path), fs::canonicalize(folder)) {
        (Ok(path), Ok(folder)) => path.starts_with(folder),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_readme_the_beginning_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("README.md");
        fs::write(&file, " short\n").unwrap();
        let read = |path: &Path| read(path, &[folder.path()]);
        assert_eq!(read(&file).unwrap(), "short");
        fs::write(&file, format!("a{}", "é".repeat(README_BYTES_MAX))).unwrap();
        let text = read(&file).unwrap();
        assert!(text.starts_with("aéé") && text.ends_with("é\n[… the rest is left out …]"));
        assert!(read(folder.path()).is_err());
    }

    #[test]
    fn links_do_not_lead_out_of_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, link) = (folder.path().join("a"), folder.path().join("a/link"));
        fs::create_dir(&inner).unwrap();
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        assert!(is_inside(&inner, folder.path()));
        assert!(!is_inside(&link, folder.path()));
        assert!(!is_inside(&folder.path().join("a/.."), &inner));
        assert!(!is_inside(&folder.path().join("nothing"), folder.path()));
    }
}
