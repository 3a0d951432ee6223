"""The API peer: a plain DRF view with a serializer and one INSERT."""

from __future__ import annotations

from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from .models import Access


class QuestionSerializer(serializers.Serializer[dict[str, object]]):
    text = serializers.CharField(max_length=200)
    times = serializers.IntegerField(min_value=1, max_value=10, required=False)


class Echo(APIView):
    authentication_classes = ()
    permission_classes = ()

    def post(self, request: Request) -> Response:
        serializer = QuestionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        Access.objects.create(path=request.path, outcome="allowed", **serializer.validated_data)
        return Response(serializer.validated_data)


urlpatterns = [path("api/bench", Echo.as_view())]
