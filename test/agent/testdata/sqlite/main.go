// Command sqlite serves a table over HTTP. Its answers come from SQLite, which is C:
//
//	/get?id=N     a row
//	/put?id=N     writes a row
//	/report       a leak: it does not close its rows, and so neither the statement nor the
//	              connection to the database
//
// It prints its URL, and ends when its standard input is closed.
package main

import (
	"database/sql"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	_ "github.com/mattn/go-sqlite3"
)

// rows is how many the table has.
const rows = 1000

func main() {
	dir, err := os.MkdirTemp("", "sqlite-")
	check(err)
	defer os.RemoveAll(dir)
	// With WAL a row can be written while others read.
	db, err := sql.Open("sqlite3", filepath.Join(dir, "pages")+"?_journal_mode=WAL&_synchronous=OFF&_busy_timeout=60000")
	check(err)
	_, err = db.Exec("CREATE TABLE page (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
	check(err)
	for id := 0; id < rows; id++ {
		check(put(db, id))
	}
	http.HandleFunc("/get", func(w http.ResponseWriter, r *http.Request) {
		var body string
		answer(w, db.QueryRow("SELECT body FROM page WHERE id = ?", number(r)).Scan(&body), body)
	})
	http.HandleFunc("/put", func(w http.ResponseWriter, r *http.Request) { answer(w, put(db, number(r)), "ok") })
	http.HandleFunc("/report", func(w http.ResponseWriter, r *http.Request) {
		first, err := firstPage(db)
		answer(w, err, first)
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Printf("http://%s\n", l.Addr())
	go http.Serve(l, nil)
	io.Copy(io.Discard, os.Stdin)
}

func put(db *sql.DB, id int) error {
	_, err := db.Exec("INSERT OR REPLACE INTO page VALUES (?, ?)", id, strings.Repeat("text ", 20+id%50))
	return err
}

// firstPage forgets to close its rows.
//
//go:noinline
func firstPage(db *sql.DB) (body string, err error) {
	rows, err := db.Query("SELECT body FROM page ORDER BY id") // LEAK
	if err != nil {
		return "", err
	}
	rows.Next()
	return body, rows.Scan(&body)
}

func number(r *http.Request) (id int) {
	fmt.Sscan(r.FormValue("id"), &id)
	return id % rows
}

func answer(w http.ResponseWriter, err error, body string) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	io.WriteString(w, body)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
