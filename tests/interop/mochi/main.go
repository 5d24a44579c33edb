// Mochi MQTT as a program, with its data in bbolt.
//
// usage: mochi PORT TLS-PORT CERTIFICATE KEY DIRECTORY
// Takes clients without a name, and joe with the password secret; nobody may publish below denied/.
package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/storage/bolt"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

type access struct {
	mqtt.HookBase
}

func (a *access) Provides(event byte) bool {
	return event == mqtt.OnConnectAuthenticate || event == mqtt.OnACLCheck
}

func (a *access) OnConnectAuthenticate(_ *mqtt.Client, p packets.Packet) bool {
	user, password := string(p.Connect.Username), string(p.Connect.Password)
	return user == "" || user == "joe" && password == "secret"
}

func (a *access) OnACLCheck(_ *mqtt.Client, topic string, write bool) bool {
	return !(write && strings.HasPrefix(topic, "denied/"))
}

func run(port, tlsPort, certificate, key, directory string) error {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return err
	}
	secure := &tls.Config{Certificates: []tls.Certificate{pair}}
	server := mqtt.New(nil)
	if err := server.AddHook(new(access), nil); err != nil {
		return err
	}
	if err := server.AddHook(new(bolt.Hook), &bolt.Options{Path: directory + "/data"}); err != nil {
		return err
	}
	for _, config := range []listeners.Config{
		{ID: "plain", Address: "127.0.0.1:" + port},
		{ID: "tls", Address: "127.0.0.1:" + tlsPort, TLSConfig: secure},
	} {
		if err := server.AddListener(listeners.NewTCP(config)); err != nil {
			return err
		}
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	if err := server.Serve(); err != nil {
		return err
	}
	<-ended
	return server.Close()
}

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: mochi PORT TLS-PORT CERTIFICATE KEY DIRECTORY")
		os.Exit(64)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
