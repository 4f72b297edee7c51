mod clients;
mod explain;
mod forward;
mod places;
mod readings;
mod reverse;
mod template;
mod warnings;
