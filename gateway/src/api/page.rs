//! The page at `/`. It is written in several files and compiled into one, so that the browser loads
//! nothing else.

/// The whole page.
pub(super) const PAGE: &str = concat!(
    include_str!("page/head.html"),
    "<style>\n",
    include_str!("page/style.css"),
    "</style>\n</head>\n",
    include_str!("page/body.html"),
    "<script>\n\"use strict\";\n\n",
    include_str!("page/format.js"),
    include_str!("page/counts.js"),
    include_str!("page/charts.js"),
    include_str!("page/circuits.js"),
    include_str!("page/way.js"),
    include_str!("page/details.js"),
    include_str!("page/changes.js"),
    include_str!("page/live.js"),
    "</script>\n</body>\n</html>\n",
);
