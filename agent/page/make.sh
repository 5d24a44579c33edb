#!/bin/sh
# Puts style and script into the page. UPLOT names the directory with uPlot, if there is one.
set -eu
cd "$(dirname "$0")/../.."
page=agent/page

part() { # FILE-OF-UPLOT OWN-FILE
	if [ -s "$UPLOT/$1" ]; then
		echo "/* uPlot:"
		cat "$UPLOT/LICENSE"
		echo "*/"
		cat "$UPLOT/$1"
	fi
	cat "$page/$2"
}

sed '/^@style@$/,$d' $page/page.html
echo "<style>"
part uPlot.min.css page.css
echo "</style>"
sed '1,/^@style@$/d; /^@script@$/,$d' $page/page.html
echo "<script>"
part uPlot.iife.min.js page.js
echo "</script>"
sed '1,/^@script@$/d' $page/page.html
