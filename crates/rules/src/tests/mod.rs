mod clients;
mod explain;
mod forward;
mod readings;
mod reverse;
mod template;
mod warnings;
