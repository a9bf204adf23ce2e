//! Routes: asked once, kept, lent, and asked of whichever name server is there.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{Network, name_server, refusal, route, success};
use gantry_client::{CallError, Client, ClientConfig, RouteError, TEMPLATE_TOPIC};
use gantry_codec::body::to_json;
use gantry_codec::{request_code, response_code};

const ROUTE: i32 = request_code::GET_ROUTEINFO_BY_TOPIC;

#[tokio::test(start_paused = true)]
async fn a_route_is_asked_once_and_kept() {
    let network = Network::new();
    network.serve("ns:1", name_server(vec![("T", route(&[("a", &[(0, "a:1")], 2)]))]));
    let client = network.client();
    let first = client.routes().get("T").await.expect("a route");
    let again = client.routes().get("T").await.expect("a route");
    assert!(Arc::ptr_eq(&first, &again));
    assert_eq!(network.asked(ROUTE).len(), 1);
    assert_eq!(first.publish.len(), 2);
    assert_eq!(first.master("a"), Some("a:1"));
    let (_, request) = &network.requests(ROUTE)[0];
    assert_eq!(request.ext.get("acceptStandardJsonOnly"), Some("true"));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_borrows_the_templates_queues_until_it_exists() {
    let network = Network::new();
    let template = route(&[("a", &[(0, "a:1")], 8), ("b", &[(0, "b:1")], 2)]);
    network.serve("ns:1", name_server(vec![(TEMPLATE_TOPIC, template.clone())]));
    let client = network.client();
    let lent = client.routes().get_or_borrow("T").await.expect("lent");
    assert!(lent.borrowed);
    let queues: Vec<_> =
        lent.publish.iter().map(|queue| (queue.broker_name.as_str(), queue.queue_id)).collect();
    assert_eq!(queues, [("a", 0), ("a", 1), ("a", 2), ("a", 3), ("b", 0), ("b", 1)]);
    assert!(lent.publish.iter().all(|queue| queue.topic == "T"));
    let missing = client.routes().get("T").await.expect_err("not to be read");
    assert!(matches!(missing, RouteError::NoRoute { topic } if topic == "T"));

    let own = route(&[("b", &[(0, "b:1")], 1)]);
    network.serve("ns:2", name_server(vec![("T", own), (TEMPLATE_TOPIC, template)]));
    let config = ClientConfig { namesrv: vec!["ns:2".into()], ..network.config() };
    let found = Client::new(config).routes().get_or_borrow("T").await.expect("its own");
    assert!(!found.borrowed);
    assert_eq!(found.publish.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_template_an_unknown_topic_has_no_route() {
    let network = Network::new();
    network.serve("ns:1", name_server(vec![]));
    let error = network.client().routes().get_or_borrow("T").await.expect_err("nobody has it");
    assert!(matches!(error, RouteError::NoRoute { topic } if topic == "T"));
}

#[tokio::test(start_paused = true)]
async fn a_cached_route_outlives_a_silent_name_server_but_not_the_topic() {
    let network = Network::new();
    let gone = Arc::new(AtomicBool::new(false));
    let (silent, body) = (Arc::clone(&gone), to_json(&route(&[("a", &[(0, "a:1")], 1)])));
    let answers = Arc::new(AtomicBool::new(true));
    let speaks = Arc::clone(&answers);
    network.serve("ns:1", move |request| {
        if !speaks.load(Ordering::Relaxed) {
            None
        } else if silent.load(Ordering::Relaxed) {
            Some(refusal(response_code::TOPIC_NOT_EXIST, request))
        } else {
            Some(success(request).with_body(body.clone()))
        }
    });
    let client = network.client();
    client.routes().get("T").await.expect("a route");

    answers.store(false, Ordering::Relaxed);
    client.routes().refresh("T").await.expect_err("no answer");
    client.routes().get("T").await.expect("still cached");

    answers.store(true, Ordering::Relaxed);
    gone.store(true, Ordering::Relaxed);
    client.routes().refresh("T").await.expect_err("deleted");
    client.routes().get("T").await.expect_err("forgotten");
}

#[tokio::test(start_paused = true)]
async fn the_next_name_server_is_asked_when_one_fails() {
    let network = Network::new();
    let known = || name_server(vec![("T", route(&[("a", &[(0, "a:1")], 1)]))]);
    network.serve("ns:2", |_| None);
    network.serve("ns:3", known());
    let namesrv = ["ns:1", "ns:2", "ns:3"].map(str::to_owned).to_vec();
    let client = Client::new(ClientConfig { namesrv, ..network.config() });
    client.routes().get("T").await.expect("the third one answers");
    assert_eq!(network.asked(ROUTE), ["ns:2", "ns:3"], "the first one cannot be reached");
    client.routes().refresh("T").await.expect("a route");
    assert_eq!(network.asked(ROUTE), ["ns:2", "ns:3", "ns:3"], "the one that answered is kept");

    network.remove("ns:3");
    client.close();
    network.serve("ns:1", known());
    client.routes().refresh("T").await.expect("the first one is back");
}

#[tokio::test(start_paused = true)]
async fn without_name_server_the_error_says_so() {
    let network = Network::new();
    let client = Client::new(ClientConfig { namesrv: Vec::new(), ..network.config() });
    let error = client.routes().get("T").await.expect_err("nobody to ask");
    assert!(matches!(error, RouteError::Call(CallError::NoNameServer)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn routes_in_use_are_asked_again_every_half_minute() {
    let network = Network::new();
    network.serve("ns:1", name_server(vec![("T", route(&[("a", &[(0, "a:1")], 1)]))]));
    let client = network.client();
    client.routes().get("T").await.expect("a route");
    tokio::time::sleep(Duration::from_secs(91)).await;
    assert_eq!(network.asked(ROUTE).len(), 4);
    drop(client);
    tokio::time::sleep(Duration::from_secs(91)).await;
    assert_eq!(network.asked(ROUTE).len(), 4, "nobody is left to refresh for");
}
