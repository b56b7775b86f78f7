//! Horizontal bars in sections, each with its figure behind it.

use super::svg::{Anchor, BLUE, FAINT, GREY, GRID, INK, Svg, linear_ticks, style};
use crate::output::grouped;

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Semel,
    Peer,
}

/// One bar.
#[derive(Debug)]
pub struct Bar {
    pub label: &'static str,
    pub value: f64,
    pub whose: Whose,
}

/// Bars that are to be compared.
#[derive(Debug)]
pub struct Section {
    pub title: &'static str,
    pub bars: Vec<Bar>,
}

const WIDTH: f64 = 820.0;
/// Where the bars begin, and where the longest may end: labels before, figures behind.
const LEFT: f64 = 240.0;
const RIGHT: f64 = WIDTH - 90.0;
const TOP: f64 = 64.0;
const BAR: f64 = 20.0;
const PITCH: f64 = 27.0;
const SECTION_HEAD: f64 = 30.0;
const SECTION_GAP: f64 = 10.0;
const BOTTOM: f64 = 54.0;

/// Draws them.
pub fn draw(title: &str, unit: &str, sections: &[Section]) -> String {
    let body: f64 = sections.iter().map(section_height).sum();
    let bottom = TOP + body;
    let mut svg = Svg::new(title, WIDTH, bottom + BOTTOM);
    svg.text((20.0, 32.0), Anchor::Start, &style(INK, 17, true), title);
    legend(&mut svg);

    let values = sections.iter().flat_map(|section| &section.bars);
    let most = values.map(|bar| bar.value).fold(0.0, f64::max);
    let ticks = linear_ticks(most, 5.0);
    let end = ticks.last().copied().unwrap_or(1.0);
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / end;
    for tick in &ticks {
        let place = (x(*tick), bottom + 18.0);
        svg.text(
            place,
            Anchor::Middle,
            &style(FAINT, 12, false),
            &grouped(*tick),
        );
    }

    let below = ((LEFT + RIGHT) / 2.0, bottom + 40.0);
    svg.text(below, Anchor::Middle, &style(FAINT, 12, false), unit);

    let mut y = TOP;
    for section in sections {
        svg.text(
            (20.0, y + 20.0),
            Anchor::Start,
            &style(INK, 13, true),
            section.title,
        );
        y += SECTION_HEAD;
        // Not through the heads.
        let end = y + PITCH * section.bars.len() as f64;
        for tick in &ticks {
            svg.line((x(*tick), y - 5.0), (x(*tick), end), GRID);
        }
        for bar in &section.bars {
            let baseline = y + BAR - 5.5;
            let label = (LEFT - 10.0, baseline);
            svg.text(label, Anchor::End, &style(INK, 13, false), bar.label);
            svg.bar(LEFT, y, x(bar.value) - LEFT, BAR, colour(bar.whose));
            let behind = (x(bar.value) + 7.0, baseline);
            let bold = style(INK, 13, true);
            svg.text(behind, Anchor::Start, &bold, &grouped(bar.value));
            y += PITCH;
        }
        y += SECTION_GAP;
    }
    svg.finish()
}

fn section_height(section: &Section) -> f64 {
    SECTION_HEAD + PITCH * section.bars.len() as f64 + SECTION_GAP
}

fn colour(whose: Whose) -> &'static str {
    match whose {
        Whose::Semel => BLUE,
        Whose::Peer => GREY,
    }
}

fn legend(svg: &mut Svg) {
    for (x, whose, name) in [
        (WIDTH - 190.0, Whose::Semel, "Semel"),
        (WIDTH - 105.0, Whose::Peer, "others"),
    ] {
        svg.bar(x, 21.0, 12.0, 12.0, colour(whose));
        svg.text(
            (x + 18.0, 32.0),
            Anchor::Start,
            &style(INK, 13, false),
            name,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_stays_within_the_card_and_has_its_figure() {
        let bar = |value| Bar {
            label: "x",
            value,
            whose: Whose::Semel,
        };
        let section = Section {
            title: "t",
            bars: vec![bar(0.0), bar(99_999.0), bar(100_001.0)],
        };
        let svg = draw("title", "unit", &[section]);
        for figure in ["99,999", "100,001"] {
            assert!(svg.contains(figure), "{figure}");
        }
        let widths = svg
            .split("width=\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
        assert!(
            widths
                .into_iter()
                .all(|width| (0.0..=WIDTH).contains(&width))
        );
    }
}
