//! The pool's addresses in use, as addresses of the pods' bridge: that is what gives the host a route to them. Each
//! carries the label `BRIDGE:lb`, by which a later run knows what an earlier one put there.

use std::net::{IpAddr, Ipv4Addr};

use futures::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use sampan_addon::Error;
use tokio::task::JoinHandle;

/// Longest label, in letters, that the kernel keeps.
const LABEL_MAX: usize = 15;

/// The bridge.
pub struct Bridge {
    handle: Handle,
    name: String,
    driver: JoinHandle<()>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Bridge {
    /// Opens a conversation with the kernel about the bridge `name`, which need not be there yet.
    pub fn open(name: &str) -> Result<Self, Error> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|error| Error::Io { what: "netlink".into(), error })?;
        // ends with this value, not with the addon: a run that has drained still takes addresses back
        Ok(Self { handle, name: name.to_owned(), driver: tokio::spawn(connection) })
    }

    fn label(&self) -> String {
        let mut label = format!("{}:lb", self.name);
        label.truncate(LABEL_MAX);
        label
    }

    fn error(&self, error: &rtnetlink::Error) -> Error {
        Error::Other(format!("addresses of the bridge {}: {error}", self.name))
    }

    async fn index(&self) -> Option<u32> {
        let mut found = Box::pin(self.handle.link().get().match_name(self.name.clone()).execute());
        // no such link is an error to the kernel
        found.try_next().await.ok().flatten().map(|link| link.header.index)
    }

    /// Puts `address` there; fine if it is.
    pub async fn put(&self, address: Ipv4Addr) -> Result<(), Error> {
        let missing = || Error::Other(format!("the pods' bridge {} is not there", self.name));
        let index = self.index().await.ok_or_else(missing)?;
        let mut request = self.handle.address().add(index, IpAddr::V4(address), 32).replace();
        request.message_mut().attributes.push(AddressAttribute::Label(self.label()));
        request.execute().await.map_err(|error| self.error(&error))
    }

    /// Takes `address` away; fine if it is not there, or not ours.
    pub async fn take(&self, address: Ipv4Addr) -> Result<(), Error> {
        for (message, _) in self.messages().await?.into_iter().filter(|(_, one)| *one == address) {
            self.handle.address().del(message).execute().await.map_err(|error| self.error(&error))?;
        }
        Ok(())
    }

    /// What earlier runs and this one have put there.
    pub async fn list(&self) -> Result<Vec<Ipv4Addr>, Error> {
        Ok(self.messages().await?.into_iter().map(|(_, address)| address).collect())
    }

    async fn messages(&self) -> Result<Vec<(AddressMessage, Ipv4Addr)>, Error> {
        let Some(index) = self.index().await else { return Ok(Vec::new()) };
        let mut all = Box::pin(self.handle.address().get().set_link_index_filter(index).execute());
        let (label, mut ours) = (self.label(), Vec::new());
        while let Some(message) = all.try_next().await.map_err(|error| self.error(&error))? {
            let address = message.attributes.iter().find_map(|one| match one {
                AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
                _ => None,
            });
            let labelled =
                message.attributes.iter().any(|one| matches!(one, AddressAttribute::Label(l) if *l == label));
            if let Some(address) = address.filter(|_| labelled) {
                ours.push((message, address));
            }
        }
        Ok(ours)
    }
}
