package main

import (
	"database/sql"
	"io"
	"net/http"
	"strings"

	_ "github.com/mattn/go-sqlite3"
)

const rows = 1000

// newSQLite answers GET /N with row N of a table. SQLite allocates and frees some dozen
// blocks for each.
func newSQLite() (http.Handler, error) {
	db, err := sql.Open("sqlite3", "file:plain?mode=memory&cache=shared")
	if err != nil {
		return nil, err
	}
	if _, err := db.Exec("CREATE TABLE page (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"); err != nil {
		return nil, err
	}
	for id := range rows {
		if _, err := db.Exec("INSERT INTO page VALUES (?, ?)", id, strings.Repeat("text ", 20+id%50)); err != nil {
			return nil, err
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body string
		if err := db.QueryRow("SELECT body FROM page WHERE id = ?", strings.TrimPrefix(r.URL.Path, "/")).Scan(&body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, body) // an error means that the client is gone
	}), nil
}
