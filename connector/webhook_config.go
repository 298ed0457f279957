package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"cloudsession/connector/webhook"
)

// Webhook says where the sessions' messages are delivered, if anywhere.
type Webhook struct {
	URL       string `env:"WEBHOOK_URL" help:"https URL that every message is posted to, signed; empty for none"`
	Key       string `env:"WEBHOOK_SECRET" help:"secret the deliveries are signed with (required with WEBHOOK_URL, 32 characters or more; whsec_ and base64 for Standard Webhooks libraries)"`
	OldKeys   string `env:"WEBHOOK_SECRET_PREVIOUS" help:"earlier secrets, comma-separated: deliveries are signed with them, too, while receivers change over"`
	AllowHTTP bool   `env:"WEBHOOK_ALLOW_HTTP" envDefault:"false" help:"true: WEBHOOK_URL may be http on another machine; anybody on the way can read the messages"`
}

// options returns what a dispatcher is made of, or nil without a webhook, and
// every mistake in the variables. The mistakes hold no value.
func (w Webhook) options() (*webhook.Options, []error) {
	if w.URL == "" {
		if w.Key != "" || w.OldKeys != "" {
			return nil, []error{errors.New("WEBHOOK_SECRET is set without WEBHOOK_URL")}
		}
		return nil, nil
	}
	var problems []error
	u, err := webhook.ParseURL(w.URL, w.AllowHTTP)
	if err != nil {
		problems = append(problems, fmt.Errorf("WEBHOOK_URL: %w", err))
	}
	o := &webhook.Options{URL: u, Version: version}
	if w.Key == "" {
		problems = append(problems, errors.New("WEBHOOK_SECRET is not set; it is required with WEBHOOK_URL"))
	} else if s, err := webhook.ParseSecret(w.Key); err != nil {
		problems = append(problems, fmt.Errorf("WEBHOOK_SECRET: %w", err))
	} else {
		o.Secrets = append(o.Secrets, s)
	}
	for old := range strings.SplitSeq(w.OldKeys, ",") {
		if old = strings.TrimSpace(old); old == "" {
			continue
		}
		s, err := webhook.ParseSecret(old)
		if err != nil {
			problems = append(problems, fmt.Errorf("WEBHOOK_SECRET_PREVIOUS: %w", err))
		}
		o.Secrets = append(o.Secrets, s)
	}
	return o, problems
}

func (w Webhook) problems() []error {
	_, list := w.options()
	return list
}

// dispatcher returns nil without a webhook.
func (w Webhook) dispatcher(log *slog.Logger) (*webhook.Dispatcher, error) {
	o, problems := w.options()
	if o == nil || len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	o.Log = log
	return webhook.New(*o), nil
}
