//! Puts the routes of a site together.

use crate::kdl::Node;

use super::routes::{Pattern, Route, is_proxied};

/// Puts routes and the rest into a site; what all routes have stands in the site once.
pub(crate) fn assemble(site: &mut Node, mut routes: Vec<Route>, mut rest: Vec<Node>) {
    const MOVABLE: &[&str] = &[
        "request",
        "response",
        "timeouts",
        "limits",
        "host",
        "error-page",
        "log",
        "rewrite-responses",
        "allow",
        "deny",
        "satisfy",
        "login",
        "cache",
    ];
    const OF_PROXIES: &[&str] = &["request", "timeouts", "host", "rewrite-responses", "cache"];
    let rest_is_proxied = is_proxied(&rest);
    let mut shared = Vec::new();
    let candidates: Vec<Node> = match routes.iter().find(|route| route.is_proxied()) {
        Some(route) if !rest_is_proxied => route.body.clone(),
        _ if rest.is_empty() => routes.first().map(|route| route.body.clone()).unwrap_or_default(),
        _ => rest.clone(),
    };
    for node in candidates.iter().filter(|node| MOVABLE.contains(&node.name.as_str())) {
        let of_proxies = OF_PROXIES.contains(&node.name.as_str());
        let all = |name: &str, body: &[Node]| -> usize {
            body.iter().filter(|one| one.name == name).count()
        };
        let has = |body: &[Node]| body.iter().any(|one| one.is_like(node));
        let same_lines = |body: &[Node]| all(&node.name, body) == all(&node.name, &candidates);
        let fits = |body: &[Node], proxied: bool| {
            (of_proxies && !proxied && all(&node.name, body) == 0) || has(body) && same_lines(body)
        };
        let in_rest = rest.is_empty() || fits(&rest, rest_is_proxied);
        // A redirect to the same path with a slash may have all settings but those about clients.
        let harmless = !node.guards;
        let all_fit = routes
            .iter()
            .all(|route| route.adds_slash && harmless || fits(&route.body, route.is_proxied()));
        if in_rest && all_fit {
            shared.push(node.clone());
        }
    }
    // Lines of one kind that are read in order move together or not at all.
    let ordered = ["allow", "deny", "error-page"];
    let whole = |name: &str| {
        let count = |nodes: &[Node]| {
            nodes
                .iter()
                .filter(|one| {
                    ordered.contains(&one.name.as_str())
                        && (one.name == name || name != "error-page" && one.name != "error-page")
                })
                .count()
        };
        count(&candidates) == count(&shared)
    };
    let shared: Vec<Node> = shared
        .iter()
        .filter(|node| !ordered.contains(&node.name.as_str()) || whole(&node.name))
        .cloned()
        .collect();
    for body in routes.iter_mut().map(|route| &mut route.body).chain([&mut rest]) {
        body.retain(|node| !shared.iter().any(|one| one.is_like(node)));
    }
    site.guards = shared.iter().chain(&rest).any(|node| node.guards);
    site.children.extend(shared);
    // What the rest alone has must not reach the routes.
    const ACTIONS: &[&str] = &["to", "split", "redirect", "respond", "files", ""];
    let has_settings = rest.iter().any(|node| !ACTIONS.contains(&node.name.as_str()));
    if has_settings && !routes.is_empty() {
        let mut route = Route::new(Pattern::Path("/*".into()), std::mem::take(&mut rest));
        if let Some(first) = route.body.first_mut() {
            route.above = std::mem::take(&mut first.above);
        }
        routes.push(route);
    }
    site.children.extend(routes.into_iter().map(Route::node));
    site.children.extend(rest);
}
