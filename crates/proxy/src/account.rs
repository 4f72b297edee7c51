//! What each client uses of the resources that all clients share: connections, upstream
//! connections, streams, buffered bytes.
//!
//! A client is an IPv4 address or an IPv6 network ([`ClientKey`]), as one client has a whole network. The use
//! on all cores is one sum (`Totals`), which may not exceed a limit. A core has an [`Account`] for each of its
//! clients, looked up once per connection: it adds to the sum, and subtracts from it, in steps that are small
//! compared to the limit and to what is left below it, so that requests neither lock nor touch what cores share, and
//! use close to the limit is counted almost one by one. The price: a client that has moved from one core to
//! another may be limited a few steps too early. Connections are always counted one by one.
//! Bounded: an account lives a second longer than its last connection, charge or request; a core has no more
//! than [`ACCOUNTS_MAX`], and further clients share one.
//! Not here: the limits (`config::Limits`), and the answer when one is reached.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;

/// The most accounts of one core.
const ACCOUNTS_MAX: usize = 1 << 17;
/// The table of sums is divided into this many parts, so that cores rarely wait for each other.
const SHARDS: usize = 64;

/// Who counts as one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClientKey(IpAddr);

impl ClientKey {
    /// The clients beyond the most accounts of a core.
    const OTHERS: Self = Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED));

    /// An IPv4 address, or the first `ipv6_prefix` bits of an IPv6 address.
    pub(crate) fn of(address: IpAddr, ipv6_prefix: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let rest = 128_u32.saturating_sub(ipv6_prefix.into());
                let bits = v6.to_bits().checked_shr(rest).unwrap_or(0);
                Self(IpAddr::V6(bits.checked_shl(rest).unwrap_or(0).into()))
            }
            v4 => Self(v4),
        }
    }

    /// The address, or the first one of the network.
    pub(crate) fn address(self) -> IpAddr {
        self.0
    }
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Connections from the client.
    Connections,
    /// Connections to upstreams that its requests and tunnels use alone.
    Upstreams,
    /// Its HTTP/2 streams.
    Streams,
    /// Bytes of its messages that are buffered because the receiver does not read them.
    Bytes,
}

impl Resource {
    const COUNT: usize = 4;

    /// How much a core adds to the sum beyond what it needs now. `left`: what is left below the limit. What all
    /// cores may have added ahead at a time is a part of that.
    fn step(self, max: u64, left: u64, cores: usize) -> u64 {
        let parts = 16 * (cores as u64).max(1);
        match self {
            Self::Connections => 0,
            Self::Upstreams | Self::Streams | Self::Bytes => (max / parts).min(left / parts),
        }
    }
}

/// What a client uses on all cores, including what those have added ahead.
#[derive(Debug, Default)]
struct Totals([AtomicU64; Resource::COUNT]);

impl Totals {
    fn of(&self, resource: Resource) -> Option<&AtomicU64> {
        self.0.get(resource as usize)
    }

    fn add(&self, resource: Resource, count: u64, max: u64) -> bool {
        let Some(total) = self.of(resource) else { return false };
        let within = |held: u64| held.checked_add(count).filter(|sum| *sum <= max);
        total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    fn sum(&self, resource: Resource) -> u64 {
        self.of(resource).map_or(0, |total| total.load(Ordering::Relaxed))
    }

    fn subtract(&self, resource: Resource, count: u64) {
        if let Some(total) = self.of(resource) {
            total.fetch_sub(count, Ordering::Relaxed);
        }
    }
}

/// A part of the sums.
type Shard = Mutex<HashMap<ClientKey, Arc<Totals>>>;

/// The sums of all clients.
pub(crate) struct Accounts {
    shards: Box<[Shard]>,
    cores: usize,
}

impl Accounts {
    /// For so many cores.
    pub(crate) fn new(cores: usize) -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect(), cores: cores.max(1) }
    }

    fn shard(&self, key: ClientKey) -> Option<&Shard> {
        let parts: u32 = match key.0 {
            IpAddr::V4(v4) => v4.octets().into_iter().map(u32::from).sum(),
            IpAddr::V6(v6) => v6.octets().into_iter().map(u32::from).sum(),
        };
        self.shards.get(parts as usize % SHARDS)
    }

    fn totals(&self, key: ClientKey) -> Arc<Totals> {
        let Some(shard) = self.shard(key) else { return Arc::default() };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shard.entry(key).or_default())
    }

    /// A core no longer needs the sum; it is removed with the last core.
    fn leave(&self, key: ClientKey, totals: &Arc<Totals>) {
        let Some(shard) = self.shard(key) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        // One reference is the table's, one the leaving core's; new ones come from the table only.
        if Arc::strong_count(totals) <= 2 {
            shard.remove(&key);
            if shard.capacity() > 4 * shard.len() + 1024 {
                shard.shrink_to_fit();
            }
        }
    }
}

/// What a client uses of one resource on a core.
#[derive(Debug, Clone, Copy, Default)]
struct ResourceUse {
    /// In use.
    used: u64,
    /// Added to the sum; at least what is in use.
    taken: u64,
    /// How much more than is in use may stay added.
    step: u64,
}

/// What a client uses on this core.
pub(crate) struct Account {
    key: ClientKey,
    totals: Arc<Totals>,
    accounts: Arc<Accounts>,
    usage: [Cell<ResourceUse>; Resource::COUNT],
}

impl Account {
    fn new(accounts: &Arc<Accounts>, key: ClientKey) -> Rc<Self> {
        let (totals, accounts) = (accounts.totals(key), Arc::clone(accounts));
        Rc::new(Self { key, totals, accounts, usage: Default::default() })
    }

    /// Its owner.
    pub(crate) fn key(&self) -> ClientKey {
        self.key
    }

    /// Roughly what the client uses on all cores.
    #[cfg(test)]
    pub(crate) fn held(&self, resource: Resource) -> u64 {
        self.totals.sum(resource)
    }

    /// What the client uses on this core.
    pub(crate) fn used(&self, resource: Resource) -> u64 {
        self.usage.get(resource as usize).map_or(0, |usage| usage.get().used)
    }

    /// Charges `count` to the client until the charge is dropped. `None`, and nothing is charged, if the client
    /// would exceed `max` in all.
    pub(crate) fn charge(
        self: &Rc<Self>,
        resource: Resource,
        count: u64,
        max: u64,
    ) -> Option<Charge> {
        self.take(resource, count, max).then(|| Charge {
            account: Rc::clone(self),
            resource,
            count,
        })
    }

    fn take(&self, resource: Resource, count: u64, max: u64) -> bool {
        let Some(cell) = self.usage.get(resource as usize) else { return false };
        let mut usage = cell.get();
        let used = usage.used.saturating_add(count);
        if used > usage.taken {
            let lack = used - usage.taken;
            let left = max.saturating_sub(self.totals.sum(resource).saturating_add(lack));
            let step = resource.step(max, left, self.accounts.cores);
            if self.totals.add(resource, lack + step, max) {
                usage.taken += lack + step;
            } else if self.totals.add(resource, lack, max) {
                usage.taken = used;
            } else {
                return false;
            }
            usage.step = step;
        }
        cell.set(ResourceUse { used, ..usage });
        true
    }

    fn give_back(&self, resource: Resource, count: u64) {
        let Some(cell) = self.usage.get(resource as usize) else { return };
        let ResourceUse { used, mut taken, step } = cell.get();
        let used = used.saturating_sub(count);
        if taken - used > 2 * step {
            self.totals.subtract(resource, taken - used - step);
            taken = used + step;
        }
        cell.set(ResourceUse { used, taken, step });
    }

    /// Subtracts what was added ahead. True if nothing is in use.
    fn settle(&self) -> bool {
        let resources =
            [Resource::Connections, Resource::Upstreams, Resource::Streams, Resource::Bytes];
        resources.iter().zip(&self.usage).fold(true, |is_idle, (resource, cell)| {
            let usage = cell.get();
            if usage.used == 0 && usage.taken > 0 {
                self.totals.subtract(*resource, usage.taken);
                cell.set(ResourceUse { taken: 0, ..usage });
            }
            is_idle && usage.used == 0
        })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.settle();
        self.accounts.leave(self.key, &self.totals);
    }
}

/// A use of a resource that counts on a client until it is dropped.
pub(crate) struct Charge {
    account: Rc<Account>,
    resource: Resource,
    count: u64,
}

impl Charge {
    /// Its owner.
    pub(crate) fn account(&self) -> &Rc<Account> {
        &self.account
    }

    /// Changes the count. False, and nothing changes, if the client would exceed `max` in all.
    #[cfg_attr(not(test), allow(dead_code))] // for bytes in buffers
    pub(crate) fn resize(&mut self, count: u64, max: u64) -> bool {
        if let Some(more) = count.checked_sub(self.count) {
            if !self.account.take(self.resource, more, max) {
                return false;
            }
        } else {
            self.account.give_back(self.resource, self.count - count);
        }
        self.count = count;
        true
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.give_back(self.resource, self.count);
    }
}

/// The accounts of a core's clients.
pub(crate) struct CoreAccounts {
    accounts: Arc<Accounts>,
    by_client: RefCell<HashMap<ClientKey, Rc<Account>>>,
}

impl CoreAccounts {
    pub(crate) fn new(accounts: &Arc<Accounts>) -> Self {
        Self { accounts: Arc::clone(accounts), by_client: RefCell::default() }
    }

    /// The account of a client.
    pub(crate) fn of(&self, key: ClientKey) -> Rc<Account> {
        let mut by_client = self.by_client.borrow_mut();
        if let Some(account) = by_client.get(&key) {
            return Rc::clone(account);
        }
        let key = if by_client.len() < ACCOUNTS_MAX { key } else { ClientKey::OTHERS };
        let account = by_client.entry(key).or_insert_with(|| Account::new(&self.accounts, key));
        Rc::clone(account)
    }

    /// The work of about every second: removes unused accounts.
    pub(crate) fn sweep(&self) {
        let mut by_client = self.by_client.borrow_mut();
        by_client.retain(|_, account| !(account.settle() && Rc::strong_count(account) == 1));
        if by_client.capacity() > 4 * by_client.len() + 1024 {
            by_client.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, prefix: u8) -> ClientKey {
        ClientKey::of(text.parse().unwrap(), prefix)
    }

    #[test]
    fn who_is_one_client() {
        for (one, other, prefix, same) in [
            ("192.0.2.1", "192.0.2.1", 64, true),
            ("192.0.2.1", "192.0.2.2", 64, false),
            ("192.0.2.1", "::ffff:192.0.2.1", 64, true),
            ("2001:db8::1", "2001:db8::ffff:1:2:3", 64, true),
            ("2001:db8::1", "2001:db8:0:1::1", 64, false),
            ("2001:db8::1", "2001:db8:0:1::1", 56, true),
            ("2001:db8::1", "2001:db8::2", 128, false),
        ] {
            assert_eq!(key(one, prefix) == key(other, prefix), same, "{one} {other} /{prefix}");
        }
    }

    #[test]
    fn no_more_than_the_limit_on_all_cores() {
        let accounts = Arc::new(Accounts::new(2));
        let cores = [CoreAccounts::new(&accounts), CoreAccounts::new(&accounts)];
        let key = key("192.0.2.1", 64);
        let mut charges = Vec::new();
        for core in cores.iter().cycle().take(1000) {
            charges.extend(core.of(key).charge(Resource::Upstreams, 1, 320));
        }
        // A core may have two steps that the other lacks; here one is 10.
        assert!((300..=320).contains(&charges.len()), "{}", charges.len());
        assert!(cores[0].of(key).charge(Resource::Upstreams, 400, 320).is_none());
        // Others are not concerned, nor is what else the client has.
        assert!(cores[0].of(ClientKey::OTHERS).charge(Resource::Upstreams, 1, 320).is_some());
        assert!(cores[0].of(key).charge(Resource::Connections, 320, 320).is_some());
        charges.clear();
        cores.iter().for_each(CoreAccounts::sweep);
        assert!(cores.iter().all(|core| core.by_client.borrow().is_empty()));
        assert!(accounts.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
        assert!(cores[1].of(key).charge(Resource::Upstreams, 320, 320).is_some());
    }

    #[test]
    fn who_stays_below_the_limit_is_never_refused() {
        // A thousand exchanges of one client on two cores, which end on one and begin on the other.
        let accounts = Arc::new(Accounts::new(2));
        let cores = [CoreAccounts::new(&accounts), CoreAccounts::new(&accounts)];
        let key = key("192.0.2.1", 64);
        let charge = |core: usize| {
            let charge = cores[core].of(key).charge(Resource::Upstreams, 1, 1024);
            charge.unwrap_or_else(|| panic!("refused at {:?}", accounts.totals(key)))
        };
        let mut charges: Vec<_> = (0..1000).map(|number| charge(number % 2)).collect();
        let mut random = random::Random::seeded(1);
        for _ in 0..100_000 {
            let ended = (random.next() % 1000) as usize;
            charges.swap_remove(ended);
            charges.push(charge((random.next() % 2) as usize));
        }
    }

    #[test]
    fn small_limits_and_connections_are_exact() {
        let accounts = Arc::new(Accounts::new(8));
        let cores = [CoreAccounts::new(&accounts), CoreAccounts::new(&accounts)];
        let key = key("2001:db8::1", 64);
        for (resource, max) in [(Resource::Streams, 100), (Resource::Connections, 1024)] {
            let of = |(_, core): (u64, &CoreAccounts)| core.of(key).charge(resource, 1, max);
            let charges: Vec<_> = (0..2000).zip(cores.iter().cycle()).filter_map(of).collect();
            assert_eq!(charges.len() as u64, max);
        }
    }

    #[test]
    fn a_charge_grows_and_shrinks() {
        let cores = CoreAccounts::new(&Arc::new(Accounts::new(1)));
        let account = cores.of(key("192.0.2.1", 64));
        let mut charge = account.charge(Resource::Bytes, 0, 1600).unwrap();
        assert!(charge.resize(1000, 1600) && charge.resize(1600, 1600));
        assert!(!charge.resize(1601, 1600));
        assert!(charge.resize(10, 1600));
        assert!(account.held(Resource::Bytes) <= 110, "{}", account.held(Resource::Bytes));
        assert!(charge.account().charge(Resource::Bytes, 1500, 1600).is_some());
    }
}
