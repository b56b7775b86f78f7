//! A TCP proxy whose connections can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone)]
pub struct Network {
    pub address: SocketAddr,
    backend: SocketAddr,
    cuts: watch::Sender<u64>,
    connections: Arc<AtomicUsize>,
    hangs_up: Arc<AtomicBool>,
}

impl Network {
    pub async fn to(backend: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let network = Self {
            address: listener.local_addr().unwrap(),
            backend,
            cuts: watch::Sender::new(0),
            connections: Arc::default(),
            hangs_up: Arc::default(),
        };
        network.also_at(listener);
        network
    }

    /// Serves another address as well.
    pub fn also_at(&self, listener: TcpListener) {
        let network = self.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                network.connections.fetch_add(1, Ordering::SeqCst);
                if !network.hangs_up.load(Ordering::SeqCst) {
                    tokio::spawn(network.clone().carry(near));
                }
            }
        });
    }

    async fn carry(self, mut near: TcpStream) {
        let mut cut = self.cuts.subscribe();
        let mut far = TcpStream::connect(self.backend).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = cut.changed() => {}
        }
    }

    /// Ends every connection that stands now.
    pub fn cut(&self) {
        self.cuts.send_modify(|n| *n += 1);
    }

    /// From now on connections are made and ended at once, as by a balancer without a server; or
    /// no longer.
    pub fn hang_up(&self, yes: bool) {
        self.hangs_up.store(yes, Ordering::SeqCst);
    }

    /// Connections made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
