mod clients;
mod explain;
mod forward;
mod reverse;
mod template;
mod warnings;
