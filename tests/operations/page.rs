//! The page of runbooks: whoever is woken follows a link to it.

use std::collections::BTreeSet;

use super::deploy::{alerts, dashboard, panels, text};

const PAGE: &str = "docs/operations.md";

/// What a heading is called in a link, as the page's hosts make it.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

/// The headings of the page, outside of what is code.
fn headings() -> Vec<String> {
    let page = text(PAGE);
    let mut is_code = false;
    let mut headings = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            is_code = !is_code;
        } else if let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) {
            headings.push(heading.trim_start_matches('#').trim().to_owned());
        }
    }
    headings
}

fn anchors() -> BTreeSet<String> {
    let headings = headings();
    let anchors: BTreeSet<_> = headings.iter().map(|it| anchor(it)).collect();
    // The host numbers the second one, and a link leads to the first.
    assert_eq!(
        anchors.len(),
        headings.len(),
        "two headings of {PAGE} have one anchor"
    );
    anchors
}

/// The anchor in a link to the page.
fn target(url: &str) -> &str {
    let (page, anchor) = url
        .split_once('#')
        .unwrap_or_else(|| panic!("{url} has no anchor"));
    assert!(page.ends_with(PAGE), "{url} does not lead to {PAGE}");
    anchor
}

#[test]
fn anchors_are_made_of_headings_as_their_hosts_do() {
    assert_eq!(
        anchor("Rotate: the database's password"),
        "rotate-the-databases-password"
    );
    assert_eq!(anchor("SemelStuckKeys"), "semelstuckkeys");
}

#[test]
fn each_alert_leads_to_its_own_section() {
    let anchors = anchors();
    for (name, alert) in alerts() {
        let url = &alert.annotations["runbook_url"];
        assert_eq!(target(url), anchor(&name), "{name}");
        assert!(
            anchors.contains(target(url)),
            "{name}: {PAGE} has no section {url}"
        );
    }
}

#[test]
fn each_section_of_an_alert_is_of_one_that_there_is() {
    let alerts: BTreeSet<_> = alerts().into_iter().map(|(name, _)| name).collect();
    let sections = headings().into_iter().filter(|it| it.starts_with("Semel"));
    let sections: BTreeSet<_> = sections.collect();
    assert_eq!(sections, alerts);
}

#[test]
fn each_link_of_the_dashboard_leads_to_a_section() {
    let (anchors, dashboard) = (anchors(), dashboard());
    let mut links = 0;
    for panel in panels(&dashboard) {
        for link in panel["links"].as_array().expect("a list") {
            let url = link["url"].as_str().expect("an address");
            assert!(anchors.contains(target(url)), "{}: {url}", panel["title"]);
            links += 1;
        }
    }
    assert!(links > 0, "the dashboard leads somewhere");
}

#[test]
fn each_link_within_the_page_leads_to_a_section() {
    let (anchors, page) = (anchors(), text(PAGE));
    let links = page
        .split("](#")
        .skip(1)
        .filter_map(|it| it.split_once(')'));
    let links: BTreeSet<_> = links.map(|(anchor, _)| anchor).collect();
    assert!(!links.is_empty(), "the page has links");
    for link in links {
        assert!(anchors.contains(link), "{PAGE} has no section #{link}");
    }
}
