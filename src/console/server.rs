//! Address, TLS and connections. One thread serves all; what blocks (the control socket, hashing) has threads beside it.

use std::fs::File;
use std::io::BufReader;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto, version};

use super::guard::Peer;
use super::{App, ConsoleError, Options, pages};

/// Connections at a time; a browser takes six at most.
const MAX_CONNECTIONS: usize = 128;

/// How long a handshake, and the head of a request, may take; a connection on which nothing is asked ends as well.
const PATIENCE: Duration = Duration::from_secs(20);

/// Threads for what blocks.
const BLOCKING_THREADS: usize = 12;

pub(super) fn run(options: Options, ready: impl FnOnce(SocketAddr)) -> Result<(), ConsoleError> {
    let listen = options.listen;
    if !listen.ip().is_loopback() && options.tls.is_none() {
        return Err(ConsoleError::Public { listen });
    }
    let tls = options.tls.as_ref().map(|(certificate, key)| acceptor(certificate, key)).transpose()?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(Duration::from_secs(5))
        .build()
        .map_err(ConsoleError::System)?;
    let served = runtime.block_on(async {
        let failed = |source| ConsoleError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        let app = App::new(options)?;
        ready(at);
        serve(listener, tls, pages::router(app)).await.map_err(ConsoleError::System)
    });
    // Whoever still watches is hung up on.
    runtime.shutdown_background();
    served
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, router: Router) -> std::io::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            _ = term.recv() => return Ok(()),
            _ = int.recv() => return Ok(()),
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely; those in use come free again.
                log::warn!("a browser could not be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Beyond that they wait in the kernel's queue.
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let _place = place;
            let _ = stream.set_nodelay(true);
            match tls {
                None => talk(stream, router, peer.ip()).await,
                Some(tls) => match tokio::time::timeout(PATIENCE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => talk(stream, router, peer.ip()).await,
                    Ok(Err(error)) => log::debug!("{}: no TLS: {error}", peer.ip()),
                    Err(_) => log::debug!("{}: no TLS in time", peer.ip()),
                },
            }
        });
    }
}

/// Answers one connection's requests.
async fn talk(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, peer: IpAddr) {
    let service = TowerToHyperService::new(router.layer(Extension(Peer(peer))));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(32 * 1024)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        log::debug!("{peer}: {error}");
    }
}

/// TLS 1.2 and 1.3 with what rustls holds safe.
fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, ConsoleError> {
    let open = |path: &Path| {
        File::open(path).map(BufReader::new).map_err(|error| ConsoleError::Tls {
            path: path.to_owned(),
            what: "it cannot be read; the console's user (accessd-console) must be able to".into(),
            source: Some(error.into()),
        })
    };
    let wrong = |path: &Path, what: &str, error: Box<dyn std::error::Error + Send + Sync>| {
        ConsoleError::Tls { path: path.to_owned(), what: what.to_owned(), source: Some(error) }
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(open(certificate)?).collect();
    let chain = chain.map_err(|e| wrong(certificate, "it is no certificate in PEM", Box::new(e)))?;
    if chain.is_empty() {
        let what = "there is no certificate in it (PEM, `BEGIN CERTIFICATE`)".to_owned();
        return Err(ConsoleError::Tls { path: certificate.to_owned(), what, source: None });
    }
    let secret = PrivateKeyDer::from_pem_reader(open(key)?)
        .map_err(|e| wrong(key, "there is no private key in it (PEM)", Box::new(e)))?;
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|e| wrong(certificate, "TLS cannot be set up", Box::new(e)))?
        .with_no_client_auth()
        .with_single_cert(chain, secret)
        .map_err(|e| wrong(certificate, "certificate and key do not belong together", Box::new(e)))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
