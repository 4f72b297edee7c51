//! A scripted ACME directory: RFC 8555 and RFC 9773 as far as a client sees them, without sockets,
//! so that its stories run on simulated time. It judges challenges by what would be answered.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use http::{Method, Request, Response};
use instant_acme::Error;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::acme::http::{Boxed, Transport};
use crate::challenges::Challenges;

const HOST: &str = "https://ca.example";
pub(super) const DIRECTORY: &str = "https://ca.example/directory";

/// The beginning of simulated time.
pub(super) fn epoch() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

/// The directory.
pub(super) struct Ca {
    pub(super) challenges: Arc<Challenges>,
    issuer: Issuer<'static, KeyPair>,
    began: Instant,
    inner: Mutex<Inner>,
}

/// What it knows, and how it is to behave.
#[derive(Default)]
pub(super) struct Inner {
    next: u64,
    nonces: Vec<String>,
    /// Account URL → thumbprint of its key.
    pub(super) accounts: BTreeMap<String, String>,
    orders: HashMap<String, Order>,
    /// Every request: simulated seconds since the beginning, method and path, payload.
    pub(super) seen: Vec<(u64, String, Value)>,
    /// Answers given instead of its own to requests for a path that begins so, each once.
    pub(super) instead: VecDeque<(&'static str, Answer)>,
    pub(super) down: bool,
    pub(super) profiles: Vec<&'static str>,
    /// Key name and key of external accounts; `None`: not asked for.
    pub(super) eab: Option<(&'static str, Vec<u8>)>,
    /// The window of RFC 9773 in seconds of simulated time, and `Retry-After`.
    pub(super) window: Option<(u64, u64, u64)>,
    pub(super) lifetime: Duration,
    pub(super) offered: Vec<&'static str>,
    /// Records that the hook of the stories wrote: `NAME VALUE` a line.
    pub(super) zone: Option<PathBuf>,
    /// The names of which it sees nothing that we show.
    pub(super) blind: Vec<&'static str>,
    /// The names that it certifies instead of those that were ordered.
    pub(super) certify: Option<Vec<String>>,
}

/// An answer: its status, `Retry-After`, and problem.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<u64>,
    pub(super) body: Value,
}

/// What a validation found.
type Found = Result<(), &'static str>;

#[derive(Default)]
struct Order {
    names: Vec<String>,
    status: &'static str,
    /// What control is shown by.
    kind: String,
    /// Name, token, and what was found.
    challenges: Vec<(String, String, Option<Found>)>,
    thumbprint: String,
    replaces: Option<Value>,
    certificate: String,
}

pub(super) fn problem(status: u16, kind: &str, detail: &str) -> Answer {
    let body = json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail});
    Answer { status, retry_after: None, body }
}

impl Ca {
    pub(super) fn new() -> Arc<Self> {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(parameters, KeyPair::generate().unwrap());
        let inner = Inner {
            lifetime: Duration::from_secs(90 * 86_400),
            offered: vec!["http-01", "tls-alpn-01", "dns-01"],
            ..Inner::default()
        };
        let (challenges, began) = (Challenges::new(), Instant::now());
        Arc::new(Self { challenges, issuer, began, inner: Mutex::new(inner) })
    }

    pub(super) fn script(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn now(&self) -> SystemTime {
        epoch() + self.began.elapsed()
    }

    pub(super) fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }

    /// When requests for this path came, and with what.
    pub(super) fn asked(&self, what: &str) -> Vec<(u64, Value)> {
        let seen = &self.script().seen;
        seen.iter()
            .filter(|(_, line, _)| line.starts_with(what))
            .map(|(at, _, payload)| (*at, payload.clone()))
            .collect()
    }

    fn answer(&self, request: &Request<Bytes>) -> Result<Response<Bytes>, Error> {
        let mut inner = self.script();
        let path = request.uri().path().to_owned();
        let jws: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let part = |name: &str| {
            let bytes = jws[name].as_str().and_then(|text| BASE64.decode(text).ok());
            serde_json::from_slice::<Value>(&bytes.unwrap_or_default()).unwrap_or_default()
        };
        let (protected, payload) = (part("protected"), part("payload"));
        let line = format!("{} {path}", request.method());
        inner.seen.push((self.seconds(), line, payload.clone()));
        if inner.down {
            return Err(Error::Other("connection refused".into()));
        }
        let nonce = inner.fresh("nonce");
        inner.nonces.push(nonce.clone());
        let instead = inner.instead.iter().position(|(prefix, _)| path.starts_with(prefix));
        let mut answer = match instead.and_then(|index| inner.instead.remove(index)) {
            Some((_, answer)) => answer.response(),
            None if request.method() == Method::POST => {
                let known = protected["nonce"].as_str().and_then(|nonce| {
                    let index = inner.nonces.iter().position(|known| known == nonce)?;
                    Some(inner.nonces.swap_remove(index))
                });
                match known {
                    None => problem(400, "badNonce", "an unknown nonce").response(),
                    Some(_) => self.post(&mut inner, &path, &protected, &payload),
                }
            }
            None => self.get(&inner, &path),
        };
        answer.headers_mut().insert("replay-nonce", nonce.parse().unwrap());
        Ok(answer)
    }

    fn get(&self, inner: &Inner, path: &str) -> Response<Bytes> {
        match (path, inner.window) {
            ("/directory", window) => {
                let mut directory = json!({
                    "newNonce": format!("{HOST}/nonce"),
                    "newAccount": format!("{HOST}/account"),
                    "newOrder": format!("{HOST}/order"),
                    "revokeCert": format!("{HOST}/revoke"),
                    "keyChange": format!("{HOST}/change"),
                    "meta": {"profiles": inner.profiles.iter().map(|name| (name.to_string(), json!("…"))).collect::<serde_json::Map<_, _>>()},
                });
                if window.is_some() {
                    directory["renewalInfo"] = json!(format!("{HOST}/ari"));
                }
                reply(200, &directory)
            }
            ("/nonce", _) => reply(200, &json!({})),
            (path, Some((start, end, retry_after))) if path.starts_with("/ari/") => {
                let at = |seconds| {
                    let time = time::OffsetDateTime::from(epoch() + Duration::from_secs(seconds));
                    time.format(&time::format_description::well_known::Rfc3339).unwrap()
                };
                let body = json!({"suggestedWindow": {"start": at(start), "end": at(end)}});
                let mut response = reply(200, &body);
                response.headers_mut().insert("retry-after", retry_after.into());
                response
            }
            _ => problem(404, "malformed", "no such thing").response(),
        }
    }

    fn post(
        &self,
        inner: &mut Inner,
        path: &str,
        protected: &Value,
        payload: &Value,
    ) -> Response<Bytes> {
        if path == "/account" {
            return inner.register(protected, payload);
        }
        let account = protected["kid"].as_str().unwrap_or_default();
        let Some(thumbprint) = inner.accounts.get(account).cloned() else {
            return problem(400, "accountDoesNotExist", "no such account").response();
        };
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        match parts.as_slice() {
            ["order"] => inner.order(&thumbprint, payload),
            ["order", id] => inner.show(id),
            ["authz", id, index] => inner.authorization(id, index.parse().unwrap()),
            ["challenge", kind, id, index] => self.judge(inner, kind, id, index.parse().unwrap()),
            ["finalize", id] => self.issue(inner, id, payload),
            ["certificate", id] => {
                let text = inner.orders[*id].certificate.clone();
                Response::builder()
                    .header("content-type", "application/pem-certificate-chain")
                    .body(text.into())
                    .unwrap()
            }
            ["accounts", _] => reply(200, &json!({"status": "valid"})),
            _ => problem(404, "malformed", "no such thing").response(),
        }
    }

    fn judge(&self, inner: &mut Inner, kind: &str, id: &str, index: usize) -> Response<Bytes> {
        let zone = inner
            .zone
            .as_ref()
            .and_then(|zone| std::fs::read_to_string(zone).ok())
            .unwrap_or_default();
        let order = &inner.orders[id];
        let (name, token) = (order.challenges[index].0.clone(), order.challenges[index].1.clone());
        let expected = format!("{token}.{}", order.thumbprint);
        let hash = digest(&SHA256, expected.as_bytes());
        let host = name.trim_start_matches("*.");
        let is_blind = inner.blind.contains(&name.as_str());
        let held = !is_blind
            && match kind {
                "http-01" => {
                    self.challenges.http(&token).is_some_and(|answer| *answer == *expected)
                }
                "tls-alpn-01" => self.challenges.alpn(host).is_some_and(|chain| {
                    chain.key.cert[0].windows(32).any(|part| part == hash.as_ref())
                        && *chain.names == [host.into()]
                }),
                _ => {
                    let wanted = format!("_acme-challenge.{host} {}", BASE64.encode(hash));
                    zone.lines().any(|line| line == wanted)
                }
            };
        let order = inner.orders.get_mut(id).unwrap();
        order.kind = kind.to_owned();
        order.challenges[index].2 = Some(if held { Ok(()) } else { Err("nothing is there") });
        if !held {
            order.status = "invalid";
        } else if order.challenges.iter().all(|(_, _, found)| matches!(found, Some(Ok(())))) {
            order.status = "ready";
        }
        reply(
            200,
            &json!({"type": kind, "url": format!("{HOST}/x"), "token": token, "status": "processing"}),
        )
    }

    fn issue(&self, inner: &mut Inner, id: &str, payload: &Value) -> Response<Bytes> {
        let csr = BASE64.decode(payload["csr"].as_str().unwrap()).unwrap();
        let mut request =
            CertificateSigningRequestParams::from_der(&csr.as_slice().into()).unwrap();
        let parameters = &mut request.params;
        parameters.not_before = self.now().into();
        parameters.not_after = (self.now() + inner.lifetime).into();
        parameters.use_authority_key_identifier_extension = true;
        if let Some(names) = inner.certify.clone() {
            parameters.subject_alt_names = CertificateParams::new(names).unwrap().subject_alt_names;
        }
        let certificate = request.signed_by(&self.issuer).unwrap();
        let order = inner.orders.get_mut(id).unwrap();
        order.certificate = certificate.pem();
        order.status = "valid";
        inner.show(id)
    }
}

impl Inner {
    fn fresh(&mut self, word: &str) -> String {
        self.next += 1;
        format!("{word}{}", self.next)
    }

    fn register(&mut self, protected: &Value, payload: &Value) -> Response<Bytes> {
        if let Some((key_id, key)) = &self.eab {
            let bound = &payload["externalAccountBinding"];
            if bound.is_null() {
                return problem(403, "externalAccountRequired", "who are you?").response();
            }
            let text = |name: &str| bound[name].as_str().unwrap_or_default();
            let head: Value =
                serde_json::from_slice(&BASE64.decode(text("protected")).unwrap()).unwrap();
            let signed = format!("{}.{}", text("protected"), text("payload"));
            let signature = BASE64.decode(text("signature")).unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            if head["kid"] != *key_id || hmac::verify(&key, signed.as_bytes(), &signature).is_err()
            {
                return problem(403, "unauthorized", "not the key that we handed out").response();
            }
        }
        let jwk = &protected["jwk"];
        let canonical = format!(
            r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#,
            jwk["crv"], jwk["kty"], jwk["x"], jwk["y"]
        );
        let thumbprint = BASE64.encode(digest(&SHA256, canonical.as_bytes()));
        let url = format!("{HOST}/accounts/{}", self.fresh("a"));
        self.accounts.insert(url.clone(), thumbprint);
        let mut response = reply(201, &json!({"status": "valid"}));
        response.headers_mut().insert("location", url.parse().unwrap());
        response
    }

    fn order(&mut self, thumbprint: &str, payload: &Value) -> Response<Bytes> {
        let names = payload["identifiers"].as_array().unwrap();
        let names: Vec<_> =
            names.iter().map(|name| name["value"].as_str().unwrap().to_owned()).collect();
        let challenges =
            names.iter().map(|name| (name.clone(), self.fresh("token"), None)).collect();
        let replaces = payload.get("replaces").cloned();
        let id = self.fresh("");
        let order = Order {
            names,
            status: "pending",
            challenges,
            thumbprint: thumbprint.to_owned(),
            kind: String::new(),
            replaces,
            certificate: String::new(),
        };
        self.orders.insert(id.clone(), order);
        let mut response = self.show(&id);
        response.headers_mut().insert("location", format!("{HOST}/order/{id}").parse().unwrap());
        response
    }

    fn show(&self, id: &str) -> Response<Bytes> {
        let order = &self.orders[id];
        let count = order.names.len();
        let mut body = json!({
            "status": order.status,
            "authorizations": (0..count).map(|index| format!("{HOST}/authz/{id}/{index}")).collect::<Vec<_>>(),
            "finalize": format!("{HOST}/finalize/{id}"),
        });
        if order.status == "valid" {
            body["certificate"] = json!(format!("{HOST}/certificate/{id}"));
        }
        if let Some(replaces) = &order.replaces {
            body["replaces"] = replaces.clone();
        }
        reply(200, &body)
    }

    fn authorization(&self, id: &str, index: usize) -> Response<Bytes> {
        let order = &self.orders[id];
        let (name, token, found) = &order.challenges[index];
        let status = match found {
            None => "pending",
            Some(Ok(())) => "valid",
            Some(Err(_)) => "invalid",
        };
        let challenge = |kind: &&str| {
            let mut challenge = json!({
                "type": kind, "token": token, "status": status,
                "url": format!("{HOST}/challenge/{kind}/{id}/{index}"),
            });
            if let Some(Err(why)) = found
                && *kind == order.kind
            {
                challenge["error"] =
                    json!({"type": "urn:ietf:params:acme:error:unauthorized", "detail": why});
            }
            challenge
        };
        reply(
            200,
            &json!({
                "identifier": {"type": "dns", "value": name.trim_start_matches("*.")},
                "wildcard": name.starts_with("*."),
                "status": status,
                "challenges": self.offered.iter().map(challenge).collect::<Vec<_>>(),
            }),
        )
    }
}

impl Answer {
    fn response(&self) -> Response<Bytes> {
        let mut response = reply(self.status, &self.body);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        response
    }
}

fn reply(status: u16, body: &Value) -> Response<Bytes> {
    let builder = Response::builder().status(status).header("content-type", "application/json");
    builder.body(body.to_string().into()).unwrap()
}

/// What carries requests to it.
pub(super) struct Wire(pub(super) Arc<Ca>);

impl Transport for Wire {
    fn send(&self, request: Request<Bytes>) -> Boxed<Result<Response<Bytes>, Error>> {
        let answer = self.0.answer(&request);
        Box::pin(async move { answer })
    }
}
