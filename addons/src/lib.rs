//! The platform: the list of addons, and what enabling, configuring and disabling one does.
