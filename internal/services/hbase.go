package services

import (
	"errors"
	"strconv"
	"strings"
)

// hbase is the layout of Apache HBase's region servers. The name of the znode
// BASE/rs/HOST,PORT,STARTCODE is the whole record. The start code is the time at which the
// server started, in milliseconds:
// https://github.com/apache/hbase/blob/master/hbase-common/src/main/java/org/apache/hadoop/hbase/ServerName.java
//
// The znode's bytes are a protobuf message about the server's version. They are not read.
var hbase = Layout{
	Name:    "hbase",
	Summary: "the region servers of Apache HBase",
	Base:    baseBelow("rs", "hbase"),
	Inside:  flat(Names),
	Decode:  decodeHBase,
}

func decodeHBase(z Znode) (Record, error) {
	parts := strings.Split(z.Name, ",")
	if len(parts) != 3 {
		return Record{}, errors.New("the name is not HOST,PORT,STARTCODE")
	}
	host, err := parseHost(parts[0])
	if err != nil {
		return Record{}, err
	}
	port, err := parsePort(parts[1])
	if err != nil {
		return Record{}, err
	}
	if _, err := strconv.ParseInt(parts[2], 10, 64); err != nil {
		return Record{}, errors.New("the name is not HOST,PORT,STARTCODE: the start code is no number")
	}
	var m metadata
	m.add("startcode", parts[2])
	return oneInstance(z, z.Name, Instance{Endpoints: []Endpoint{{Host: host, Port: port}}}, m)
}
