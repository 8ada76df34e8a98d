//! What commands tell whoever typed them: results go to standard output, remarks to standard error.

use std::io::{self, Write as _};

/// Writes a line of a command's result to standard output.
pub(crate) fn result(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Writes a remark to standard error. That nobody can read it is no reason to fail.
pub(crate) fn remark(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
