//! stub
use crate::cli::Demo;
use crate::exit::Failure;
/// stub
pub(crate) fn demo(_: &Demo) -> Result<(), Failure> {
    Ok(())
}
